"""Which components the process can be ready without."""

from wavecom_common.kernel.component import Component


class NotNeededToBeReady(Component):
    """A component that lives with the process and is no condition of its readiness."""

    def __init__(self, component: Component) -> None:
        self._component = component

    async def start(self) -> None:
        """Start the component."""
        await self._component.start()

    async def drain(self) -> None:
        """Drain the component."""
        await self._component.drain()

    async def close(self) -> None:
        """Close the component."""
        await self._component.close()
