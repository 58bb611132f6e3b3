"""Tasks a process can't do without, and tasks nobody may forget."""

import asyncio
from collections.abc import Awaitable, Coroutine, Iterable
from typing import Any, Final, TypeVar

# The key under which the loop's exception handler finds the name of a vital task that died.
VITAL: Final = "vital_task"

Result = TypeVar("Result")


def spawn_vital(work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    """Run `work` as a task whose unexpected death the loop's exception handler is told of, so the process can stop."""
    task = asyncio.get_running_loop().create_task(work, name=name)
    task.add_done_callback(_tell_of_death)
    return task


async def cancel(task: asyncio.Task[None] | None) -> None:
    """End a task, if there is one, whatever it ends with."""
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _tell_of_death(task: asyncio.Task[None]) -> None:
    if task.cancelled() or task.exception() is None:
        return
    task.get_loop().call_exception_handler(
        {"message": f"{task.get_name()} died", "exception": task.exception(), VITAL: task.get_name()}
    )


async def all_ended(work: Iterable[Awaitable[Result]]) -> list[Result]:
    """The results, in order. The first error among them is raised, but only once all have ended."""
    results: list[Result] = []
    for result in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result
        results.append(result)
    return results
