"""What a run says: how many of each module's mutants were killed, and which may not live. Pure."""

import random
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wavecom_mutants.plan import Known, Plan


@dataclass(frozen=True, slots=True)
class Mutant:
    """One small change of one function, and what became of it.

    Attributes:
        name: as mutmut has it.
        was, becomes: the lines that differ, without what surrounds them.
        killed: None when it was not tried.
    """

    name: str
    module: Path
    function: str
    was: str
    becomes: str
    killed: bool | None = None

    @property
    def place(self) -> tuple[Path, str, str, str]:
        """By which it is known again."""
        return self.module, self.function, self.was, self.becomes

    def __str__(self) -> str:
        return f"{self.module} {self.function}: `{self.was}` becomes `{self.becomes}`  ({self.name})"


def chosen(mutants: Sequence[Mutant], known: Iterable[Known], *, most: int, seed: int) -> list[Mutant]:
    """Those of one module that are tried: the first of each function, those that may live, and others by chance.

    The same ones every time, as long as the module is the same.
    """
    places = {_place(one) for one in known}
    firsts = {mutant.function: mutant for mutant in reversed(mutants)}
    must = [one for one in mutants if one is firsts[one.function] or one.place in places]
    others = sorted((one for one in mutants if one not in must), key=lambda one: one.name)
    by_chance = random.Random(seed).sample(others, k=max(0, min(most - len(must), len(others))))
    return [*must, *by_chance]


@dataclass(slots=True)
class ModuleVerdict:
    """How many mutants of one module there are, were tried, killed and may live; and those that live and may not."""

    module: Path
    made: int = 0
    tried: int = 0
    killed: int = 0
    allowed: int = 0
    survived: list[Mutant] = field(default_factory=list)

    @property
    def percent(self) -> float:
        """Of those that count, how many were killed."""
        counted = self.killed + len(self.survived)
        return 100.0 if counted == 0 else 100 * self.killed / counted


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of all modules. `stale`: what the plan lets live and is not there any more, or is killed."""

    modules: Sequence[ModuleVerdict]
    stale: Sequence[Known]
    not_tried: int

    def failures(self, killed_percent: float) -> list[str]:
        """Why the run failed; nothing when it did not."""
        weak = [
            f"{one.module}: {one.percent:.0f} % killed, {killed_percent:g} % are asked for"
            for one in self.modules
            if one.percent < killed_percent
        ]
        stale = [f"mutants.toml lets live what is not there any more, or is killed: {one}" for one in self.stale]
        return weak + stale


def judge(plan: Plan, mutants: Collection[Mutant], *, wanted: int) -> Verdict:
    """The verdict on what was tried; `wanted` is how many were to be."""
    modules = {module: ModuleVerdict(module) for group in plan.groups for module in group.modules}
    known = [one for one in plan.known if one.module in modules]
    places = {_place(one) for one in known}
    living: set[tuple[Path, str, str, str]] = set()
    untried: set[tuple[Path, str, str, str]] = set()
    for mutant in sorted(mutants, key=lambda one: one.name):
        verdict = modules[mutant.module]
        verdict.made += 1
        if mutant.killed is None:
            untried.add(mutant.place)
            continue
        verdict.tried += 1
        if mutant.killed:
            verdict.killed += 1
        elif mutant.place in places:
            living.add(mutant.place)
            verdict.allowed += 1
        elif any(rule.allows(mutant.was, mutant.becomes) for rule in plan.rules):
            verdict.allowed += 1
        else:
            verdict.survived.append(mutant)
    stale = [one for one in known if _place(one) not in living | untried]
    tried = sum(one.tried for one in modules.values())
    return Verdict(list(modules.values()), stale, max(0, wanted - tried))


def _place(known: Known) -> tuple[Path, str, str, str]:
    return known.module, known.function, known.was, known.becomes
