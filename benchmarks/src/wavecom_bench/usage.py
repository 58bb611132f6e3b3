"""CPU and memory of the system's processes, as the operating system counts them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil


class Processes:
    """The processes of a run folder, by the pid files in it; servers with all their children."""

    def __init__(self, folder: Path) -> None:
        self._processes: dict[str, Sequence[psutil.Process]] = {}
        for file in sorted(folder.glob("*.pid")):
            if file.stem != "supervisord":
                process = psutil.Process(int(file.read_text()))
                self._processes[file.stem] = [process, *process.children(recursive=True)]

    def cpu_s(self) -> Mapping[str, float]:
        """User and system seconds since each process began."""
        return {
            name: sum(times.user + times.system for times in (process.cpu_times() for process in processes))
            for name, processes in self._processes.items()
        }

    def memory_mb(self) -> Mapping[str, float]:
        """Resident memory now."""
        return {
            name: sum(process.memory_info().rss for process in processes) / 1e6
            for name, processes in self._processes.items()
        }
