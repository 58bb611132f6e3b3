"""`make down`: nothing of the system is left running."""

from collections.abc import Mapping

from wavecom_stack.folder import RunFolder
from wavecom_stack.infra import Say
from wavecom_stack.stack import Stack


def down(folder: RunFolder, environment: Mapping[str, str], say: Say, *, keep_data: bool) -> None:
    """Stop the system of this folder; fine when it does not run.

    Args:
        folder: where it was started.
        environment: as `up` was given.
        say: told what happens.
        keep_data: leave what the broker and the database stored for the next `up`.

    Raises:
        StackError: something does not stop.
    """
    stack = Stack(folder, environment, say)
    was_running = stack.is_running()
    if was_running:
        say("Stopping ...")
    left = stack.stop(keep_data=keep_data)
    if was_running:
        say(f"Everything is stopped. The logs are in {folder.root}.")
    elif left:
        say(f"The supervisor was gone already; stopped the {left} processes it left behind.")
    else:
        say("Nothing was running.")
