"""What a process is made of."""


class Component:
    """Something with a life: a publisher, a consumer, a database link, a server. Each method does nothing by default.

    Components start in the order they are listed and end in the reverse order, each first drained and then closed.
    """

    async def start(self) -> None:
        """Begin. Returns soon: what has to be reached first is reached in the background."""

    def ready(self) -> str | None:
        """None when it does its work, else the reason why not, in a few words."""
        return None

    async def drain(self) -> None:
        """Take nothing new and finish what was begun. Cancelled when the deadline passes."""

    async def close(self) -> None:
        """Let go of everything. Safe after a drain that was cut short."""


class Server(Component):
    """A component that listens on a port of its own; ready once it listens."""

    port: int
