"""`python -m wavecom_mutants.reading`, in a folder of mutmut's: prints what became of each mutant, as JSON.

In a process of its own, since mutmut goes by its working folder; and by its own code, since its command line shows
one mutant at a time. So mutmut is pinned: these names are not its interface.
"""

import json
import sys
from typing import Any, Final

# What mutmut calls the ends of a mutant's tests. A test that finds a mutant may be a time limit's, or the system's.
_KILLED: Final = frozenset({"killed", "timeout", "segfault", "suspicious", "caught by type check"})
_ALIVE: Final = frozenset({"survived", "no tests"})


def mutants() -> list[dict[str, Any]]:
    """All mutants there are, with what they change and whether a test saw it."""
    from mutmut.mutation.data import SourceFileMutationData
    from mutmut.mutation.diff_apply import get_diff_for_mutant
    from mutmut.stats import status_by_exit_code
    from mutmut.utils.file_utils import walk_mutatable_files
    from mutmut.utils.format_utils import orig_function_and_class_names_from_key

    found = []
    for path in walk_mutatable_files():
        data = SourceFileMutationData(path=path)
        data.load()
        for name, exit_code in data.exit_code_by_key.items():
            status = status_by_exit_code[exit_code]
            function, owner = orig_function_and_class_names_from_key(name)
            removed, added = _changed(get_diff_for_mutant(name, path=path))
            found.append(
                {
                    "name": name,
                    "source": str(path),
                    "function": f"{owner}.{function}" if owner else function,
                    "was": removed,
                    "becomes": added,
                    "killed": True if status in _KILLED else False if status in _ALIVE else None,
                    "first": name.endswith("__mutmut_1"),
                }
            )
    return found


def _changed(diff: str) -> tuple[str, str]:
    """The lines that were removed and those that were added, on one line each."""
    lines = [line for line in diff.splitlines() if not line.startswith(("---", "+++"))]
    removed, added = ([line[1:].strip() for line in lines if line.startswith(sign)] for sign in "-+")
    return " ".join(removed), " ".join(added)


if __name__ == "__main__":
    json.dump(mutants(), sys.stdout)
