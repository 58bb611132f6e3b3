"""Which parts the process can be ready without."""

from wavecom_common.hosting.part import Part


class NotNeededToBeReady:
    """A part that lives with the process and is no condition of its readiness."""

    def __init__(self, part: Part) -> None:
        self._part = part

    async def start(self) -> None:
        """Start the part."""
        await self._part.start()

    def ready(self) -> str | None:
        """Always None."""
        return None

    async def drain(self) -> None:
        """Drain the part."""
        await self._part.drain()

    async def close(self) -> None:
        """Close the part."""
        await self._part.close()
