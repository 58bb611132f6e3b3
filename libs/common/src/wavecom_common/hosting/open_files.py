"""How many files a process may open: each connection is one."""

import resource
from typing import Final

from wavecom_common.kernel.errors import ConfigurationError

# Beside the connections of clients: those to broker and database, files, what Python needs.
_OTHER_FILES: Final = 256


def allow_open_files(connections: int) -> None:
    """Ask for as many as all servers of the process need together; shells and containers allow 1,024 until then.

    Raises:
        ConfigurationError: the process may not have so many.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _OTHER_FILES
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise ConfigurationError(
            f"{connections:,} connections need {wanted:,} open files, and {hard:,} are allowed (ulimit -Hn)"
        )
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
