"""The folder that is made for mutmut."""

import tomllib
from pathlib import Path

from wavecom_mutants import workshop
from wavecom_mutants.differences import changed
from wavecom_mutants.plan import Group

MODULE = Path("libs/common/src/wavecom_common/kernel/backoff.py")


def test_packages_stand_side_by_side_and_tests_where_they_are(tmp_path: Path) -> None:
    tests = [Path("libs/common/tests/kernel"), Path("services/ingest-api/tests/test_create.py")]
    group = Group("g", [MODULE], tests, without=["some::test"])
    workshop.make(tmp_path / "made", group, ["_log"])
    made = tmp_path / "made"
    assert (made / "src/wavecom_common/kernel/backoff.py").is_file()
    assert (made / "src/ingest_api/accept.py").is_file()
    assert (made / "libs/common/tests/kernel/test_batcher.py").is_file()
    # With a test come the fixtures it uses, and no other test.
    assert sorted(path.name for path in (made / "services/ingest-api/tests").iterdir()) == [
        "conftest.py",
        "test_create.py",
    ]
    assert (made / "conftest.py").is_file()
    settings = tomllib.loads((made / "pyproject.toml").read_text())["tool"]
    assert settings["mutmut"]["only_mutate"] == ["src/wavecom_common/kernel/backoff.py"]
    assert settings["mutmut"]["do_not_mutate_patterns"] == ["_log"]
    assert "--deselect=some::test" in settings["mutmut"]["pytest_add_cli_args"]
    assert settings["mutmut"]["also_copy"] == ["conftest.py", "libs", "services"]
    assert settings["pytest"]["ini_options"]["filterwarnings"] == ["error"]


def test_a_change_is_read_from_its_difference() -> None:
    diff = "--- a\n+++ b\n@@ -1,3 +1,3 @@\n def f():\n-    return call(\n-        1)\n+    return call(2)\n"
    assert changed(diff) == ("return call( 1)", "return call(2)")
