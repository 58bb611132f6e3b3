"""The judge, on a handful of events in a real database: each promise broken once is counted once, and only there."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import orjson
import pytest
from status_projector.model.read_model import ReadModel
from status_projector.projector import Projector
from status_projector.store.event_store import EventStore
from wavecom_common.events import types
from wavecom_common.messaging.incoming import Incoming
from wavecom_common.storage.client import Database
from wavecom_common.testing.builders import NOW_MS, a_dispatch, a_request
from wavecom_fault.judge import Judge, Verdict
from wavecom_proto.v1.events_pb2 import Event

GOOD = Verdict(
    accepted=1,
    terminal=1,
    lost=0,
    unanswered=0,
    unexpected=0,
    left_over=0,
    ended_twice=0,
    repeated_calls_outcome_unknown=0,
    repeated_calls_unexplained=0,
    sent_without_call=0,
    too_many_attempts=0,
    model_differs=0,
)


class Court:
    """A database with what a system would have written, and the record of calls beside it."""

    def __init__(self, url: str, name: str, database: Database, calls_file: Path) -> None:
        self.database = database
        self._judge = Judge(url, name)
        self._calls_file = calls_file

    async def verdict(
        self,
        accepted: Sequence[Event],
        told: Sequence[Event],
        calls: Sequence[Event],
        left_over: int = 0,
        **posts: Sequence[str],
    ) -> Verdict:
        projector = Projector(EventStore(self.database), ReadModel(self.database), max_events=1000, linger_s=0)
        await projector(Incoming("status-projector.events", "m", told, asyncio.Event()))
        lines = [{"notificationId": call.notification_id, "attempt": call.attempt} for call in calls]
        self._calls_file.write_bytes(b"".join(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE) for line in lines))
        ids = [one.notification_id for one in accepted]
        return await self._judge.verdict(ids, self._calls_file, left_over=left_over, unanswered=0, **posts)

    def close(self) -> None:
        self._judge.close()


@pytest.fixture
async def court(mongodb_url: str, database_name: str, tmp_path: Path) -> AsyncIterator[Court]:
    database = Database(mongodb_url, database_name)
    await database.start()
    court = Court(mongodb_url, database_name, database, tmp_path / "calls.jsonl")
    yield court
    court.close()
    await database.close()


def sent(attempt: Event) -> Event:
    return types.sent(attempt, provider="simulated", provider_message_id="", now_ms=NOW_MS + 5)


async def test_a_notification_accepted_called_once_and_told_as_sent_breaks_nothing(court: Court) -> None:
    request = a_request(max_attempts=1)
    attempt = a_dispatch(request=request)
    assert await court.verdict([request], [request, attempt, sent(attempt)], [attempt]) == GOOD


async def test_a_notification_that_no_client_was_told_of_is_unexpected(court: Court) -> None:
    request, stranger = a_request(), a_request()
    told = [one for asked in (request, stranger) for one in (asked, a_dispatch(request=asked))]
    ends = [sent(attempt) for attempt in told[1::2]]
    assert await court.verdict([request], [*told, *ends], told[1::2]) == replace(GOOD, unexpected=1)


async def test_what_was_refused_may_be_stored_but_no_provider_called_and_what_is_in_doubt_may_be_anything(
    court: Court,
) -> None:
    request, stranger = a_request(), a_request(recipient="refused@example.com")
    attempts = [a_dispatch(request=one) for one in (request, stranger)]
    told = [request, stranger, *attempts, *map(sent, attempts)]
    of_it = {"refused": ["refused@example.com"]}
    assert await court.verdict([request], [*told[:3], sent(attempts[0])], attempts[:1], **of_it) == GOOD
    assert await court.verdict([request], told, attempts, **of_it) == replace(GOOD, unexpected=1)
    assert await court.verdict([request], told, attempts, in_doubt=["refused@example.com"]) == GOOD


async def test_the_report_of_a_withdrawal_may_be_all_there_is_of_a_request_unless_a_provider_was_called(
    court: Court,
) -> None:
    request, stranger = a_request(), a_request()
    attempt, withdrawn = a_dispatch(request=request), a_dispatch(request=stranger)
    report = types.failed(withdrawn, error="refused", reason=types.REFUSED, now_ms=NOW_MS)
    told = [request, attempt, sent(attempt), report]
    assert await court.verdict([request], told, [attempt]) == GOOD
    verdict = await court.verdict([request], told, [attempt, withdrawn])
    assert verdict == replace(GOOD, unexpected=1)
    assert verdict.unexpected_ids == [stranger.notification_id]


async def test_an_attempt_told_as_sent_that_the_provider_never_saw_is_counted(court: Court) -> None:
    request = a_request()
    first, second = a_dispatch(request=request), a_dispatch(request=request, attempt=2)
    told = [request, first, second, sent(second)]
    assert await court.verdict([request], told, [first]) == replace(GOOD, sent_without_call=1)


@pytest.mark.parametrize(("allowed", "beyond"), [(3, 0), (2, 1), (1, 2)])
async def test_attempts_beyond_those_allowed_are_counted(court: Court, allowed: int, beyond: int) -> None:
    request = a_request(max_attempts=allowed)
    attempts = [a_dispatch(request=request, attempt=number) for number in (1, 2, 3)]
    told = [request, *attempts, sent(attempts[-1])]
    assert await court.verdict([request], told, attempts) == replace(GOOD, too_many_attempts=beyond)


async def test_a_call_beyond_the_attempts_allowed_counts_though_nothing_tells_of_it(court: Court) -> None:
    request = a_request(max_attempts=1)
    first, second = a_dispatch(request=request), a_dispatch(request=request, attempt=2)
    verdict = await court.verdict([request], [request, first, sent(first)], [first, second])
    assert verdict == replace(GOOD, too_many_attempts=1)


async def test_a_second_call_of_an_attempt_counts_by_whether_its_unknown_outcome_is_told(court: Court) -> None:
    request = a_request()
    first, second = a_dispatch(request=request), a_dispatch(request=request, attempt=2)
    unknown = types.outcome_unknown(first, action="resend", now_ms=NOW_MS)
    told = [request, first, unknown, second, sent(second)]
    verdict = await court.verdict([request], told, [first, first, second, second, second])
    assert verdict == replace(GOOD, repeated_calls_outcome_unknown=1, repeated_calls_unexplained=2)


async def test_no_end_and_two_ends_are_counted(court: Court) -> None:
    request, stuck = a_request(), a_request()
    attempt = a_dispatch(request=request)
    failed = types.failed(attempt, error="", reason=types.LOST, now_ms=NOW_MS)
    verdict = await court.verdict([request, stuck], [request, stuck, sent(attempt), failed], [attempt], left_over=1)
    assert verdict == replace(GOOD, accepted=2, lost=1, ended_twice=1, left_over=1)


def test_every_sum_but_the_repeats_that_are_told_breaks_a_promise() -> None:
    assert GOOD.good
    harmless = {"accepted", "terminal", "repeated_calls_outcome_unknown"}
    sums = [name for name, value in asdict(GOOD).items() if isinstance(value, int)]
    assert {name for name in sums if replace(GOOD, **{name: 7}).good} == harmless
