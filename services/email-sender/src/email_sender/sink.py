"""A mail server that keeps what it is sent: `python -m email_sender.sink --port 2525 --folder mail`."""

import argparse
import asyncio
import itertools
import signal
from pathlib import Path

from aiosmtpd.smtp import SMTP, Envelope, Session


class FolderHandler:
    """Stores each mail as `<number>.eml` in the order of arrival."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count(1)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """Take a mail; it is on disk before it is answered for."""
        content = envelope.content
        data = content.encode() if isinstance(content, str) else content or b""
        (self._folder / f"{next(self._numbers):05}.eml").write_bytes(data)
        return "250 OK"


async def serve(port: int, folder: Path) -> None:
    """Take mail on the loopback interface until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    handler = FolderHandler(folder)
    server = await loop.create_server(lambda: SMTP(handler, enable_SMTPUTF8=True, loop=loop), "127.0.0.1", port)
    async with server:
        await stop.wait()


def main() -> None:
    """Run the sink."""
    parser = argparse.ArgumentParser(prog="python -m email_sender.sink", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    asyncio.run(serve(given.port, given.folder))


if __name__ == "__main__":
    main()
