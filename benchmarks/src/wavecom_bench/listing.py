"""How long a GET of a list takes with very many notifications in store, for every filter and at any depth."""

import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import httpx
from pymongo import MongoClient
from rich.table import Table
from status_projector.model import facts_document
from status_projector.model.facts import FAILED, PENDING, PROCESSING, QUEUED, SENT, Facts, Head, Request
from wavecom_common.events.channels import CHANNELS
from wavecom_common.kernel.ids import new_notification_id
from wavecom_common.storage import names
from wavecom_common.storage.driver import ObjectId
from wavecom_stack.folder import RunFolder
from wavecom_stack.ports import free_ports
from wavecom_stack.stack import Stack
from wavecom_stack.up import start

NAME: Final = "list"
NOTIFICATIONS: Final = 1_000_000
_STATUSES: Final = (None, SENT, FAILED, PROCESSING, PENDING)
_TIMES: Final = 20
# Three times as far as pages reach by their number.
_DEEP: Final = 300
_INSERT: Final = 5_000
# A system of many days: most is sent, little failed, next to nothing is open, nothing is pending.
_OPEN: Final = 500
_FAILED_EACH: Final = 50

Say = Callable[[str], None]


def measure(notifications: int, folder: Path, say: Say) -> dict[str, Any]:
    """Fill a system of its own and ask it for lists; milliseconds by question: median and worst.

    Raises:
        StackError: the system can't be started.
    """
    ports = free_ports()
    environment = {
        **os.environ,
        "WAVECOM_HTTP_PORT": str(next(ports)),
        "WAVECOM_GRPC_PORT": str(next(ports)),
        "WAVECOM_LOG_LEVEL": "warning",
        # What is put in as open is nobody's to send.
        "WAVECOM_SWEEP_AFTER_S": "1000000",
        "WAVECOM_SWEEP_REQUESTS_AFTER_S": "1000000",
    }
    stack = Stack(RunFolder(folder), environment, lambda _: None)
    try:
        state = start(stack, lambda _: None)
        _fill(state.mongodb_url, environment.get("WAVECOM_MONGODB_DATABASE", "wavecom"), notifications, say)
        with httpx.Client(base_url=state.api_url, timeout=60) as api:
            return {"what": f"GET of a list with {notifications} in store", "ms": dict(_asked(api))}
    finally:
        stack.stop()


def table(figures: dict[str, Any]) -> Table:
    """One row a question."""
    made = Table(figures["what"], "median ms", "worst ms", "total")
    for question, found in figures["ms"].items():
        made.add_row(question, f"{found['median']:.1f}", f"{found['worst']:.1f}", found["total"])
    return made


def _asked(api: httpx.Client) -> Iterator[tuple[str, dict[str, Any]]]:
    for status in _STATUSES:
        for channel in (None, CHANNELS[0]):
            narrowed = {name: value for name, value in (("status", status), ("channel", channel)) if value is not None}
            label = " ".join(f"{name}={value}" for name, value in narrowed.items()) or "everything"
            first = _get(api, narrowed)
            yield label, _timed(api, narrowed)
            pages = first["pagination"]["totalPages"]
            if pages > 1:
                yield f"{label}, page {pages}", _timed(api, {**narrowed, "page": pages})
            cursor = _deep_cursor(api, narrowed)
            if cursor:
                yield f"{label}, behind a cursor", _timed(api, {**narrowed, "cursor": cursor})
    yield "everything, limit=100", _timed(api, {"limit": 100})


def _deep_cursor(api: httpx.Client, narrowed: dict[str, str]) -> str | None:
    """The last cursor within so many pages of a hundred; None when there is one page only."""
    query: dict[str, Any] = {**narrowed, "limit": 100}
    for _ in range(_DEEP):
        cursor = _get(api, query)["pagination"]["nextCursor"]
        if cursor is None:
            break
        query["cursor"] = cursor
    return query.get("cursor")


def _timed(api: httpx.Client, query: dict[str, Any]) -> dict[str, Any]:
    times_ms, pagination = [], {}
    for _ in range(_TIMES):
        began_s = time.perf_counter()
        pagination = _get(api, query)["pagination"]
        times_ms.append((time.perf_counter() - began_s) * 1000)
    total = f"{pagination['total']:,}" + (" and more" if pagination["totalIsCapped"] else "")
    return {"median": round(statistics.median(times_ms), 2), "worst": round(max(times_ms), 2), "total": total}


def _get(api: httpx.Client, query: dict[str, Any]) -> dict[str, Any]:
    data: dict[str, Any] = api.get("/api/notifications", params=query).raise_for_status().json()["data"]
    return data


def _fill(url: str, database: str, count: int, say: Say) -> None:
    with MongoClient[dict[str, Any]](url) as client:
        notifications = client[database][names.NOTIFICATIONS]
        began_s = time.monotonic()
        for start in range(0, count, _INSERT):
            numbers = range(start, min(start + _INSERT, count))
            notifications.insert_many(_documents(numbers, count), ordered=False)
        say(f"  {count:,} notifications in store after {time.monotonic() - began_s:.0f} s")


def _documents(numbers: Sequence[int], count: int) -> list[dict[str, Any]]:
    return [{"_id": ObjectId(nid), **facts_document.document(facts)} for nid, facts in map(_story(count), numbers)]


def _story(count: int) -> Callable[[int], tuple[str, Facts]]:
    now_ms = int(time.time() * 1000)

    def story(number: int) -> tuple[str, Facts]:
        # A thousand a second, the last of them just now.
        at_ms = now_ms - (count - number)
        request = Request(
            tenant="default",
            channel=CHANNELS[number % len(CHANNELS)],
            priority="medium",
            recipient=f"user{number}@example.com",
            message="Your order has been shipped!" * 10,
            subject=None,
            metadata={"orderId": str(number)},
            max_attempts=3,
            created_at_ms=at_ms,
        )
        head = _head(number, count)
        sent_at_ms = at_ms if head.status == SENT else None
        failed_at_ms = at_ms if head.status == FAILED else None
        return new_notification_id(at_ms), Facts(
            head, at_ms, due_at_ms=at_ms, sent_at_ms=sent_at_ms, failed_at_ms=failed_at_ms, request=request
        )

    return story


def _head(number: int, count: int) -> Head:
    if number >= count - _OPEN:
        return Head(0, 1, 2, PROCESSING) if number % 2 else Head(0, 0, 0, QUEUED)
    return Head(1, 3, 5, FAILED) if number % _FAILED_EACH == 0 else Head(2, 1, 5, SENT)
