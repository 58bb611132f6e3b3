"""The plan that is kept, and what is wrong with others."""

from pathlib import Path

import pytest
from wavecom_mutants import plan as plans
from wavecom_mutants.plan import ROOT, PlanError

HEAD = """
skipped = []
rule = []
known = []
[limits]
killed_percent = 90
seed = 1
per_module = 10
total_s = 60
"""
GROUP = """
[[group]]
name = "{name}"
modules = ["src/*.py"]
tests = ["tests"]
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder in ("src", "tests"):
        (tmp_path / folder).mkdir()
    for name in ("__init__", "one", "two"):
        (tmp_path / "src" / f"{name}.py").touch()
    return tmp_path


def read(root: Path, text: str) -> plans.Plan:
    (root / "plan.toml").write_text(text)
    return plans.read(root / "plan.toml", root)


def test_the_plan_that_is_kept_names_what_is_there() -> None:
    plan = plans.read()
    assert all((ROOT / module).is_file() for group in plan.groups for module in group.modules)
    assert {"batcher.py", "loop.py", "consumer.py", "ledger.py", "codec.py", "projection.py"} <= {
        module.name for group in plan.groups for module in group.modules
    }
    assert plan.limits.killed_percent >= 90
    assert all(one.why for one in (*plan.rules, *plan.known))


def test_a_group_has_all_modules_of_its_folders_but_those_left_out(root: Path) -> None:
    plan = read(root, HEAD + GROUP.format(name="g"))
    assert [str(module) for module in plan.groups[0].modules] == ["src/one.py", "src/two.py"]
    plan = read(root, HEAD + GROUP.format(name="g") + 'except = ["src/two.py"]')
    assert [str(module) for module in plan.groups[0].modules] == ["src/one.py"]


@pytest.mark.parametrize("name", ["g", "src/two.py", "two.py", "/two.py"])
def test_a_group_or_a_module_is_chosen_by_its_name(root: Path, name: str) -> None:
    [group] = read(root, HEAD + GROUP.format(name="g")).only(name).groups
    assert [module.name for module in group.modules] == (["one.py", "two.py"] if name == "g" else ["two.py"])


def test_a_name_that_nothing_has_is_answered_with_those_there_are(root: Path) -> None:
    plan = read(root, HEAD + GROUP.format(name="g"))
    with pytest.raises(PlanError, match=r"g: one\.py, two\.py"):
        plan.only("wo.py")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (HEAD + GROUP.format(name="g").replace("src", "other"), r"The module other/\*\.py is not there"),
        (HEAD + GROUP.format(name="g").replace('"tests"', '"other"'), "The tests other of the group g are not there"),
        (HEAD + GROUP.format(name="g") + GROUP.format(name="h"), "mutates in two groups: src/one.py, src/two.py"),
        (
            HEAD.replace("known = []", "")
            + GROUP.format(name="g")
            + '[[known]]\nmodule = "src/x.py"\nfunction = "f"\nwas = "a"\nbecomes = "b"\nwhy = "c"',
            "modules that it does not mutate: src/x.py",
        ),
    ],
    ids=["module", "tests", "twice", "known"],
)
def test_a_plan_that_names_what_is_not_there_is_refused(root: Path, text: str, why: str) -> None:
    with pytest.raises(PlanError, match=why):
        read(root, text)
