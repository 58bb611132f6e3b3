"""What a handler's answer and its exceptions come to, for each event of a message."""

import asyncio
from collections.abc import Sequence

import pytest
from structlog.testing import capture_logs
from wavecom_common.kernel.errors import Draining, Unavailable, Unroutable
from wavecom_common.messaging.handler_calls import HandlerCalls
from wavecom_common.messaging.headers import Past
from wavecom_common.messaging.incoming import Incoming, Link
from wavecom_common.messaging.outcome import ACK, DeadLetter, Outcome, Retry
from wavecom_common.testing.builders import a_request
from wavecom_proto.v1.events_pb2 import Event

FAILED = "handler failed: ZeroDivisionError"


class Handler:
    """Raises where one of these events is among those it is given; keeps what it was given, and what was given up."""

    def __init__(self, **errors: Exception) -> None:
        self.errors = errors
        self.seen: list[list[str]] = []
        self.given_up: list[tuple[str, str]] = []
        self.give_up_error: Exception | None = None

    async def __call__(self, incoming: Incoming) -> Sequence[Outcome]:
        names = [event.event_id for event in incoming.events]
        self.seen.append(names)
        for name in names:
            if name in self.errors:
                raise self.errors[name]
        return [ACK] * len(names)

    async def give_up(self, event: Event, reason: str) -> Outcome:
        self.given_up.append((event.event_id, reason))
        if self.give_up_error is not None:
            raise self.give_up_error
        return DeadLetter(f"given up: {reason}", fails=False)

    @property
    def calls(self) -> HandlerCalls:
        return HandlerCalls(self, self.give_up, retry_delay_ms=700)


def incoming(*names: str, failures: int = 0) -> Incoming:
    events = [a_request() for _ in names]
    for event, name in zip(events, names, strict=True):
        event.event_id = name
    return Incoming("q", "m", events, asyncio.Event(), Link(), Past(failures=failures))


async def test_what_the_handler_answers_are_the_outcomes() -> None:
    handler = Handler()
    assert await handler.calls.outcomes(incoming("a", "b")) == [ACK, ACK]
    assert handler.seen == [["a", "b"]]


async def test_of_two_events_only_the_one_that_makes_it_raise_is_retried() -> None:
    handler = Handler(b=ZeroDivisionError())
    assert await handler.calls.outcomes(incoming("a", "b")) == [ACK, Retry(700, FAILED, failed=1)]
    assert handler.seen == [["a", "b"], ["a"], ["b"]]


@pytest.mark.parametrize("failures", [0, 1])
async def test_an_event_is_retried_and_its_failure_logged_with_the_error(failures: int) -> None:
    error = ZeroDivisionError()
    handler = Handler(a=error)
    with capture_logs() as logged:
        assert await handler.calls.outcomes(incoming("a", failures=failures)) == [Retry(700, FAILED, failed=1)]
    [line] = logged
    assert (line["event"], line["queue"], line["event_id"], line["exc_info"]) == ("handler_failed", "q", "a", error)
    assert handler.given_up == []


async def test_an_event_that_made_it_raise_too_often_is_given_up() -> None:
    handler = Handler(a=ZeroDivisionError())
    assert await handler.calls.outcomes(incoming("a", failures=2)) == [DeadLetter(f"given up: {FAILED}", fails=False)]
    assert handler.given_up == [("a", FAILED)]


async def test_an_event_that_cannot_be_given_up_is_dead_lettered_for_its_first_reason() -> None:
    handler = Handler(a=ZeroDivisionError())
    handler.give_up_error = ValueError("ada@example.com")
    with capture_logs() as logged:
        assert await handler.calls.outcomes(incoming("a", failures=2)) == [DeadLetter(FAILED)]
    assert [line["event"] for line in logged] == ["handler_failed", "give_up_failed"]


@pytest.mark.parametrize("error", [Unavailable("away"), Unroutable("not bound"), Draining("stopping")])
async def test_what_is_not_the_event_s_fault_is_raised_on(error: Exception) -> None:
    handler = Handler(b=error)
    with pytest.raises(type(error)):
        await handler.calls.outcomes(incoming("a", "b"))
    assert handler.seen == [["a", "b"]]
    handler.errors = {"a": ZeroDivisionError()}
    handler.give_up_error = error
    with pytest.raises(type(error)):
        await handler.calls.outcomes(incoming("a", failures=2))


async def test_an_error_of_one_event_is_raised_only_when_the_others_have_ended() -> None:
    class OnceMore(Handler):
        async def __call__(self, incoming: Incoming) -> Sequence[Outcome]:
            if len(incoming.events) > 1:
                raise ZeroDivisionError
            return await super().__call__(incoming)

    handler = OnceMore(a=Unavailable("away"))
    with pytest.raises(Unavailable):
        await handler.calls.outcomes(incoming("a", "b"))
    assert handler.seen == [["a"], ["b"]]
