"""`python -m wavecom_mutants.reading [refused]`, in a folder of mutmut's: prints what became of each mutant, as JSON.

In a process of its own, since mutmut goes by its working folder; and by its own code, since its command line shows
one mutant at a time. So mutmut is pinned: these names are not its interface.
"""

import json
import sys
from typing import Any, Final

from mutmut.configuration import config
from mutmut.mutation.data import SourceFileMutationData
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.mutation.file_mutation import filter_mutants_with_type_checker
from mutmut.stats import status_by_exit_code
from mutmut.utils.file_utils import walk_mutatable_files
from mutmut.utils.format_utils import orig_function_and_class_names_from_key

from wavecom_mutants.differences import changed

# What mutmut calls the ends of a mutant's tests. A test that finds a mutant may be a time limit's, or the system's.
_KILLED: Final = frozenset({"killed", "timeout", "segfault", "suspicious"})
_ALIVE: Final = frozenset({"survived", "no tests"})
# The codes left out are of what mutmut writes around its mutants, and of a constructor's copy that declares once more.
_MYPY: Final = (
    "mypy",
    "--strict",
    "--explicit-package-bases",
    "--namespace-packages",
    "--output=json",
    "--disable-error-code=unused-ignore",
    "--disable-error-code=no-redef",
)


def mutants() -> list[dict[str, Any]]:
    """All mutants there are, with what they change and whether a test saw it."""
    found = []
    for path in walk_mutatable_files():
        data = SourceFileMutationData(path=path)
        data.load()
        for name, exit_code in data.exit_code_by_key.items():
            status = status_by_exit_code[exit_code]
            function, owner = orig_function_and_class_names_from_key(name)
            was, becomes = changed(get_diff_for_mutant(name, path=path))
            found.append(
                {
                    "name": name,
                    "source": str(path),
                    "function": f"{owner}.{function}" if owner else function,
                    "was": was,
                    "becomes": becomes,
                    "killed": True if status in _KILLED else False if status in _ALIVE else None,
                }
            )
    return found


def refused() -> list[str]:
    """The names of those that `make lint` refuses: no test has to see them."""
    config().type_check_command = [*_MYPY, *(str(path) for path in walk_mutatable_files())]
    return list(filter_mutants_with_type_checker())


if __name__ == "__main__":
    json.dump(refused() if "refused" in sys.argv else mutants(), sys.stdout)
