"""The bytes of the requests a load is made of."""

from collections.abc import Iterator
from itertools import cycle, islice

import orjson
from wavecom_common.channels.registry import declared

from wavecom_bench.modes import Mode

_CHANNELS = tuple(declared().values())


def requests(mode: Mode, host: str) -> Iterator[tuple[int, bytes]]:
    """How many notifications and the whole HTTP request, one after the other, until the mode's load is complete."""
    numbers = iter(range(mode.notifications))
    priorities = cycle(_spread(mode.priorities))
    while True:
        batch = [_notification(number, next(priorities)) for number in islice(numbers, mode.per_post)]
        if not batch:
            return
        if mode.per_post == 1:
            yield 1, _post("/api/notifications", host, orjson.dumps(batch[0]))
        else:
            yield len(batch), _post("/api/notifications/batch", host, orjson.dumps({"notifications": batch}))


def _notification(number: int, priority: str) -> dict[str, object]:
    channel = _CHANNELS[number % len(_CHANNELS)]
    body: dict[str, object] = {
        "recipient": channel.sandbox(number),
        "message": f"Your order {number} has been shipped and is on its way. Track it at any time in our app.",
        "channel": channel.name,
        "priority": priority,
        "metadata": {"orderId": str(number), "userId": "user-abc"},
    }
    if channel.has_subject:
        body["subject"] = "Order update"
    return body


def _post(path: str, host: str, body: bytes) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _spread(priorities: tuple[tuple[str, int], ...]) -> list[str]:
    # 37 and 100 have no common factor: the priorities come well mixed, in the same order every time.
    straight = [name for name, share in priorities for _ in range(share)]
    return [straight[place * 37 % len(straight)] for place in range(len(straight))]
