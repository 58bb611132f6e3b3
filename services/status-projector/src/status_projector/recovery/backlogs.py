"""Where what seems lost may only be waiting: in a queue, or prefetched by a process that is alive. Pure.

The broker counts the messages that are ready in a queue, and not those that its consumers hold. Consumers with a
database report these themselves (`storage.held_work`), by one figure: when the oldest event they hold was due. A
notification of the same queue that is due later may be among what they hold, and is left alone.

The dispatcher has no database. A request that it holds for that long is sent to it again at growing intervals, while
its queue is empty: that makes a second `NotificationDispatched`, which the delivery ledger makes one attempt.
"""

from collections.abc import Mapping
from typing import Final

from wavecom_common.events import routing

# A process that holds one event for longer than this keeps no later one of its queue from being sent again.
_MAX_PATIENCE_MS: Final = 3600 * 1000


def without_backlog(
    waiting: Mapping[str, int | None],
    oldest_held: Mapping[str, int],
    *,
    before_ms: int,
    now_ms: int,
    most_waiting: int,
) -> Mapping[str, int]:
    """The queues without a backlog, each with a time: what was due there before that time is held by no live process.

    None while the projector has a backlog or holds events that it cannot write: what the model says may be old then.

    Args:
        waiting: ready messages by queue; None where there is no such queue.
        oldest_held: when the oldest event was due that is held of a queue, in milliseconds since the epoch.
        before_ms: what is due later is not looked for.
        now_ms: the time.
        most_waiting: a queue with more ready messages has a backlog.
    """
    free = {queue for queue, depth in waiting.items() if depth is not None and depth <= most_waiting}
    if routing.PROJECTOR_QUEUE not in free or routing.PROJECTOR_QUEUE in oldest_held:
        return {}
    return {
        queue: min(before_ms, max(oldest_held.get(queue, before_ms), now_ms - _MAX_PATIENCE_MS))
        for queue in free - {routing.PROJECTOR_QUEUE}
    }
