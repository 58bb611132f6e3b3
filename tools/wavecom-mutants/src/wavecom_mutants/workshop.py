"""A folder in which mutmut can work: copies of all packages side by side, and of the tests where they are.

mutmut imports what it mutates from `src` beside its settings, and knows one such folder; the workspace has many.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from wavecom_mutants.plan import ROOT, Group

_UNWANTED: Final = shutil.ignore_patterns("__pycache__", "*.egg-info")
# What tests ask of pytest, of which the root's own settings would be read from the wrong folder.
_PYTEST: Final = {
    "addopts": "--import-mode=importlib --strict-markers --strict-config",
    "asyncio_mode": "auto",
    "asyncio_default_fixture_loop_scope": "function",
    "timeout": 60,
    "filterwarnings": ["error"],
    "markers": ["connected: needs the real broker and database"],
}
# A mutant that waits for ever is killed by its time: twice what its tests take, and this.
_MORE_S: Final = 4.0
_TIMES: Final = 2.0


def make(folder: Path, group: Group, skipped: Sequence[str]) -> None:
    """Make the folder anew."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for source in sorted(ROOT.glob("*/src")) + sorted(ROOT.glob("*/*/src")):
        for package in source.iterdir():
            if package.is_dir() and package.name != "wavecom_mutants":
                shutil.copytree(package, folder / "src" / package.name, ignore=_UNWANTED)
    for test in group.tests:
        _copy(test, folder)
        for above in test.parents:
            if (ROOT / above / "conftest.py").exists():
                _copy(above / "conftest.py", folder)
    (folder / "pyproject.toml").write_text(_settings(group, skipped))


def source_of(module: Path) -> str:
    """Where a module is in the folder: behind the last `src` everything is as it was."""
    parts = module.parts
    return str(Path("src", *parts[parts.index("src") + 1 :]))


def _copy(path: Path, folder: Path) -> None:
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    if (ROOT / path).is_dir():
        shutil.copytree(ROOT / path, folder / path, ignore=_UNWANTED, dirs_exist_ok=True)
    else:
        shutil.copy2(ROOT / path, folder / path)
        # Twins and cases stand beside the tests that use them.
        for beside in (ROOT / path).parent.glob("*.py"):
            if not beside.name.startswith("test_"):
                shutil.copy2(beside, folder / path.parent / beside.name)


def _settings(group: Group, skipped: Sequence[str]) -> str:
    mutmut = {
        "source_paths": ["src"],
        "only_mutate": [source_of(module) for module in group.modules],
        "do_not_mutate_patterns": list(skipped),
        "also_copy": sorted({test.parts[0] for test in group.tests} | {"conftest.py"}),
        "pytest_add_cli_args": ["-p", "no:cacheprovider", *(f"--deselect={test}" for test in group.without)],
        "pytest_add_cli_args_test_selection": [str(test) for test in group.tests],
        "timeout_multiplier": _TIMES,
        "timeout_constant": _MORE_S,
        "use_git_change_detection": False,
    }
    tables = {"tool.mutmut": mutmut, "tool.pytest.ini_options": _PYTEST}
    # A value of JSON is one of TOML, as far as these go.
    lines = [
        line
        for table, values in tables.items()
        for line in (f"[{table}]", *(f"{name} = {json.dumps(value)}" for name, value in values.items()), "")
    ]
    return "\n".join(lines)
