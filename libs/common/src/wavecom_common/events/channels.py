"""The channels and priorities there are. A channel is there when a package that declares it is installed (ADR 0039).

The names alone are known here, without a package's code: most processes need no more.
"""

import re
from importlib.metadata import EntryPoint, entry_points
from itertools import pairwise
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, get_args

GROUP: Final = "wavecom.channels"
# A name is part of queues, routing keys, variables and Kubernetes objects.
_is_name: Final = re.compile(r"[a-z]{2,20}").fullmatch


class BrokenChannel(SystemExit):
    """A channel's declaration cannot be used. Ends the process with one line that names the package and the fix.

    No `WavecomError`: it comes up while modules are imported, where nothing could catch it and end the process well.
    """

    def __init__(self, point: EntryPoint | None, problem: str) -> None:
        package = point.dist.name if point and point.dist else "unknown"
        channel = f"channel {point.name!r} of package {package}: " if point else ""
        super().__init__(f"wavecom: {channel}{' '.join(problem.split())}")


def installed() -> tuple[EntryPoint, ...]:
    """The declarations of the packages that are installed, in the order of their names; none is loaded.

    Raises:
        BrokenChannel: there is none, a name is none, or two packages have the same one.
    """
    found = sorted(entry_points(group=GROUP), key=lambda point: point.name)
    if not found:
        raise BrokenChannel(None, f"no channel is installed: install a package with entry points in {GROUP}")
    for point in found:
        if not _is_name(point.name):
            raise BrokenChannel(point, f"use 2 to 20 small letters as its name in [project.entry-points.{GROUP!r}]")
    for first, second in pairwise(found):
        if first.name == second.name:
            raise BrokenChannel(second, f"{first.value} has this name, too: rename it, or uninstall one of the two")
    return tuple(found)


INSTALLED: Final = installed()
CHANNELS: Final = tuple(point.name for point in INSTALLED)
if TYPE_CHECKING:
    ChannelName: TypeAlias = str
else:
    # As a schema and a query's parameter show it.
    ChannelName = Literal[CHANNELS]

Priority = Literal["high", "medium", "low"]
# Most urgent first.
PRIORITIES: Final[tuple[Priority, ...]] = get_args(Priority)
