"""Running mutmut on a group of modules, in pieces that end in time."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, Final

from wavecom_mutants import workshop
from wavecom_mutants.plan import Group, Plan, PlanError
from wavecom_mutants.verdict import Mutant, chosen

# As many at once as most machines that run this have cores.
_AT_ONCE: Final = "2"


@dataclass(slots=True)
class Deadline:
    """How long all of it may still take."""

    total_s: float
    begun_s: float = field(default_factory=monotonic)

    @property
    def left_s(self) -> float:
        """So long; never negative."""
        return max(0.0, self.total_s - (monotonic() - self.begun_s))


@dataclass(frozen=True, slots=True)
class Runner:
    """Tries the mutants of groups, each in a folder below `folder`, with `environment`."""

    plan: Plan
    folder: Path
    environment: Mapping[str, str]
    deadline: Deadline

    def run(self, group: Group, *, per_module: int | None) -> tuple[list[Mutant], int]:
        """The group's mutants, of which those are tried that time allowed, and how many were to be.

        `per_module`: at most so many of each module; None: all.

        Raises:
            PlanError: the tests fail without any mutant.
        """
        folder = self.folder / group.name
        workshop.make(folder, group, self.plan.skipped)
        # This makes all mutants, and tries some.
        self._mutmut(folder, ["*__mutmut_1"])
        refused = set(self._read(folder, "refused"))
        made = self._mutants(folder, group, refused)
        wanted = [
            one
            for module in group.modules
            for one in self._wanted([mutant for mutant in made if mutant.module == module], per_module)
        ]
        rest = [one.name for one in wanted if one.killed is None]
        if rest and self.deadline.left_s:
            self._mutmut(folder, rest)
            made = self._mutants(folder, group, refused)
        return made, len(wanted)

    def _wanted(self, mutants: Sequence[Mutant], per_module: int | None) -> Sequence[Mutant]:
        if per_module is None:
            return mutants
        return chosen(mutants, self.plan.known, most=per_module, seed=self.plan.limits.seed)

    def _mutmut(self, folder: Path, names: Sequence[str]) -> None:
        command = [str(Path(sys.executable).parent / "mutmut"), "run", "--max-children", _AT_ONCE, *names]
        with (folder / "mutmut.log").open("ab") as log:
            process = subprocess.Popen(
                command, cwd=folder, env=dict(self.environment), stdout=log, stderr=log, start_new_session=True
            )
            try:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(min(self.deadline.left_s, threading.TIMEOUT_MAX))
            finally:
                # When its time is over, or this is interrupted. Its workers are forks of it, in its group.
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGTERM)
                    process.wait()
        if process.returncode > 0:
            raise PlanError(f"mutmut failed: {folder / 'mutmut.log'} ends with\n{_end_of(folder / 'mutmut.log')}")

    def _mutants(self, folder: Path, group: Group, refused: Collection[str]) -> list[Mutant]:
        modules = {workshop.source_of(module): module for module in group.modules}
        found = [Mutant(module=modules[one.pop("source")], **one) for one in self._read(folder)]
        return [one for one in found if one.name not in refused]

    def _read(self, folder: Path, *what: str) -> Any:
        command = [sys.executable, "-m", "wavecom_mutants.reading", *what]
        done = subprocess.run(
            command, cwd=folder, env=dict(self.environment), capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise PlanError(f"What mutmut left could not be read:\n{done.stderr}")
        return json.loads(done.stdout)


def _end_of(log: Path, lines: int = 40) -> str:
    return "\n".join(log.read_text(errors="replace").replace("\r", "\n").splitlines()[-lines:])
