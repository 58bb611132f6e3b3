"""What is mutated, by which tests that is to be seen, and which mutants may live: `mutants.toml`."""

import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[4]
PLAN: Final = ROOT / "tools/wavecom-mutants/mutants.toml"


class PlanError(Exception):
    """The plan cannot be carried out; says what to do."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is tried, and how long that may take.

    Attributes:
        killed_percent: of each module's mutants that count, so many are to be killed.
        seed: of the choice among a module's mutants.
        per_module: so many of a module's mutants are tried when all modules are.
        total_s: so long may all of it take; what is not tried by then is reported.
    """

    killed_percent: float
    seed: int
    per_module: int
    total_s: float


@dataclass(frozen=True, slots=True)
class Group:
    """Modules that are mutated together, and the tests that run on each of their mutants.

    Attributes:
        modules: files, relative to the repository.
        tests: files and folders, relative to the repository.
        servers: whether these tests need the broker and the database.
        without: tests among these that are not run, since they take long and others see the same.
    """

    name: str
    modules: Sequence[Path]
    tests: Sequence[Path]
    servers: bool = False
    without: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Known:
    """A mutant that may live, by what it changes: its number changes with every change of its function."""

    module: Path
    function: str
    was: str
    becomes: str
    why: str = field(compare=False)

    def __str__(self) -> str:
        return f"{self.module} {self.function}: `{self.was}` becomes `{self.becomes}`"


@dataclass(frozen=True, slots=True)
class Rule:
    """Mutants that may live wherever they are, by what they change."""

    was: re.Pattern[str]
    becomes: re.Pattern[str]
    why: str

    def allows(self, was: str, becomes: str) -> bool:
        """Whether a mutant is one of these."""
        return self.was.search(was) is not None and self.becomes.search(becomes) is not None


@dataclass(frozen=True, slots=True)
class Plan:
    """All of it. Lines that match one of `skipped` are not mutated."""

    limits: Limits
    skipped: Sequence[str]
    groups: Sequence[Group]
    rules: Sequence[Rule]
    known: Sequence[Known]

    def only(self, name: str) -> "Plan":
        """The same for the group of this name, or for the modules whose path ends in it.

        Raises:
            PlanError: there is neither.
        """
        groups = [
            replace(one, modules=modules)
            for one in self.groups
            if (modules := [module for module in one.modules if one.name == name or _ends_in(module, name)])
        ]
        if not groups:
            names = "\n".join(
                f"  {one.name}: {', '.join(module.name for module in one.modules)}" for one in self.groups
            )
            raise PlanError(f"There is no group {name}, and no module whose path ends in it. There are:\n{names}")
        return replace(self, groups=groups)


def _ends_in(module: Path, name: str) -> bool:
    return f"/{module}".endswith(f"/{name.lstrip('/')}")


def read(path: Path = PLAN, root: Path = ROOT) -> Plan:
    """The plan as it is written.

    Raises:
        PlanError: it names what is not there, or a module twice.
    """
    told = tomllib.loads(path.read_text())
    groups = [_group(one, root) for one in told["group"]]
    modules = [module for group in groups for module in group.modules]
    if twice := {str(module) for module in modules if modules.count(module) > 1}:
        raise PlanError(f"{path.name} mutates in two groups: {', '.join(sorted(twice))}")
    known = [
        Known(Path(one["module"]), one["function"], one["was"], one["becomes"], one["why"]) for one in told["known"]
    ]
    if strange := {str(one.module) for one in known if one.module not in modules}:
        raise PlanError(
            f"{path.name} lets mutants live in modules that it does not mutate: {', '.join(sorted(strange))}"
        )
    rules = [Rule(re.compile(one["was"]), re.compile(one["becomes"]), one["why"]) for one in told["rule"]]
    return Plan(Limits(**told["limits"]), [one["line"] for one in told["skipped"]], groups, rules, known)


def _group(told: dict[str, Any], root: Path) -> Group:
    left_out = set(_files(told.get("except", []), root))
    modules = [one for one in _files(told["modules"], root) if one not in left_out]
    for test in told["tests"]:
        if not (root / test).exists():
            raise PlanError(f"The tests {test} of the group {told['name']} are not there")
    tests = [Path(test) for test in told["tests"]]
    return Group(told["name"], modules, tests, told.get("servers", False), told.get("without", []))


def _files(names: Sequence[str], root: Path) -> Iterator[Path]:
    for name in names:
        found = [one for one in sorted(root.glob(name)) if one.name != "__init__.py"]
        if not found:
            raise PlanError(f"The module {name} is not there")
        yield from (one.relative_to(root) for one in found)
