"""Where a stack keeps its files."""

import hashlib
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

# A socket's path has to fit into 108 bytes, and supervisor adds a suffix of its own while it creates one.
_SOCKET_PATH_BYTES = 90


@dataclass(frozen=True)
class RunFolder:
    """The folder of one stack: pid files and logs by process name, data, and what supervision needs."""

    root: Path

    def create(self) -> None:
        """Make the folder, readable by its owner only: it may hold addresses with passwords."""
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)

    def pid(self, name: str) -> Path:
        """Where a process writes its own pid."""
        return self.root / f"{name}.pid"

    def log(self, name: str) -> Path:
        """Where the output of a process goes."""
        return self.root / f"{name}.log"

    def data(self, name: str) -> Path:
        """What a server stores."""
        return self.root / "data" / name

    @property
    def state(self) -> Path:
        """What runs, and where."""
        return self.root / "stack.json"

    @property
    def supervisor_config(self) -> Path:
        """Generated at each start."""
        return self.root / "supervisord.conf"

    @property
    def supervisor_socket(self) -> Path:
        """The private socket supervision listens on; elsewhere when the path is too long for a socket."""
        path = self.root / "supervisord.sock"
        if len(bytes(path)) <= _SOCKET_PATH_BYTES:
            return path
        return Path(tempfile.gettempdir()) / f"wavecom-{self.identity}.sock"

    @property
    def identity(self) -> str:
        """A short name that differs from that of every other folder."""
        return hashlib.sha256(bytes(self.root)).hexdigest()[:12]

    def last_lines(self, name: str, count: int = 15) -> list[str]:
        """The end of a process's log."""
        path = self.log(name)
        return path.read_text(errors="replace").splitlines()[-count:] if path.exists() else []

    def remove_data(self) -> None:
        """Drop what the servers stored."""
        shutil.rmtree(self.root / "data", ignore_errors=True)

    def remove_logs(self) -> None:
        """Drop the logs of an earlier run."""
        for path in self.root.glob("*.log*"):
            path.unlink()
