"""Calls that take several attempts."""

import asyncio

import pytest
from wavecom_common.delivery.batches import Batches
from wavecom_common.delivery.connections import Unconnected
from wavecom_common.delivery.loop import lines_to
from wavecom_common.delivery.port import Attempt
from wavecom_common.events import types
from wavecom_common.events.outcomes import PermanentFailure
from wavecom_common.messaging.outcome import ACK
from wavecom_common.testing.builders import a_dispatch
from wavecom_common.testing.waiting import eventually

from .twins import Batching, Bench, incoming


def an_attempt(number: int) -> Attempt:
    return Attempt("n", number, f"n:{number}", "+15551234567", "hello", None)


def test_only_a_provider_that_takes_several_is_given_several() -> None:
    assert type(lines_to(Batching(2), timeout_s=1)) is Batches
    assert type(lines_to(Batching(1), timeout_s=1)) is Unconnected


async def test_attempts_of_a_message_are_called_together_as_many_as_the_provider_takes() -> None:
    adapter = Batching(4)
    bench = Bench(adapter)
    events = [a_dispatch() for _ in range(10)]
    assert await bench.loop.handle(incoming(*events)) == [ACK] * 10
    assert adapter.batches == [4, 4, 2]
    assert adapter.calls == [event.dedup_key for event in events]


async def test_one_alone_waits_for_no_others() -> None:
    adapter = Batching(100)
    adapter.gate.clear()
    bench = Bench(adapter)
    first = bench.begin(incoming(a_dispatch()))
    await eventually(lambda: adapter.batches == [1])
    # Not even for a call that is under way.
    second = bench.begin(incoming(a_dispatch()))
    await eventually(lambda: adapter.batches == [1, 1])
    adapter.gate.set()
    assert [await first, await second] == [[ACK], [ACK]]


async def test_each_attempt_of_a_call_has_its_own_outcome() -> None:
    adapter = Batching(3)
    bench = Bench(adapter)
    events = [a_dispatch() for _ in range(3)]
    adapter.outcomes[events[1].dedup_key] = PermanentFailure("no such user")
    assert await bench.loop.handle(incoming(*events)) == [ACK] * 3
    assert bench.publisher.types() == sorted([*[types.STARTED] * 3, types.SENT, types.SENT, types.FAILED])


@pytest.mark.parametrize("error", [RuntimeError("a bug"), asyncio.CancelledError()])
async def test_a_call_without_an_answer_has_an_unknown_outcome_for_all_of_it(error: BaseException) -> None:
    adapter = Batching(3)
    adapter.error = error
    bench = Bench(adapter)
    assert await bench.loop.handle(incoming(a_dispatch(), a_dispatch())) == [ACK] * 2
    assert bench.publisher.types().count(types.OUTCOME_UNKNOWN) == 2


async def test_a_call_is_ended_when_its_time_is_up() -> None:
    adapter = Batching(3)
    adapter.gate.clear()
    with pytest.raises(TimeoutError):
        await Batches(adapter, timeout_s=0.01).call([an_attempt(1)])


async def test_an_answer_that_leaves_one_out_is_not_guessed_at() -> None:
    class Forgetful(Batching):
        async def deliver_batch(self, attempts: object) -> list[object]:  # type: ignore[override]
            return []

    with pytest.raises(ValueError, match="0 outcomes of 1"):
        await Batches(Forgetful(3), timeout_s=1).call([an_attempt(1)])
