"""Each stage of a delivery alone: what concurrent callers ask of it goes into one write."""

import asyncio
from typing import Any, cast

import pytest
from wavecom_common.delivery.claim import ClaimStage
from wavecom_common.delivery.claims import Call, LookAgain, attempt_key
from wavecom_common.delivery.ledger import Claim
from wavecom_common.delivery.record import RecordStage
from wavecom_common.delivery.starts import Starts
from wavecom_common.events import types
from wavecom_common.events.outcomes import Delivered, TransientFailure
from wavecom_common.events.payloads import Payload
from wavecom_common.kernel.errors import Unavailable, Unstorable
from wavecom_common.messaging.outcome import ACK
from wavecom_common.testing.builders import a_dispatch
from wavecom_common.testing.waiting import eventually

from .twins import AT_MS, NOW_MS, MemoryLedger, MemoryPayloads, MemoryPublisher, StoppedClock


class Stages:
    """The stages over one ledger and one publisher."""

    def __init__(self) -> None:
        self.ledger, self.payloads, self.publisher = MemoryLedger(), MemoryPayloads(), MemoryPublisher()
        self.starts = Starts(cast("Any", self.publisher), "twin")
        self.claim = ClaimStage(cast("Any", self.ledger), cast("Any", self.payloads), self.starts, StoppedClock())
        self.record = RecordStage(
            cast("Any", self.ledger),
            cast("Any", self.publisher),
            self.starts,
            StoppedClock(),
            provider="twin",
            retry_delays_ms=[100, 200],
        )


async def test_concurrent_claims_are_one_write_and_their_starts_one_message() -> None:
    stages, draining = Stages(), asyncio.Event()
    events = [a_dispatch() for _ in range(3)]
    stages.ledger.claims[attempt_key(events[1])] = Claim("other", NOW_MS + 1)
    claimed = await asyncio.gather(*[stages.claim.claim(event, draining) for event in events])
    assert stages.ledger.claimed == [[attempt_key(event) for event in events]]
    assert [type(one.decision) for one in claimed] == [Call, LookAgain, Call]
    for event in (events[0], events[2]):
        await stages.starts.published(attempt_key(event))
    assert [(one.type, one.occurred_at_ms) for one in stages.publisher.now] == [(types.STARTED, AT_MS)] * 2


async def test_what_an_event_names_is_loaded_before_its_attempt_is_claimed() -> None:
    stages, event = Stages(), a_dispatch()
    event.content.payload_id = "p"
    stages.payloads.errors.append(Unavailable("the database is away"))
    with pytest.raises(Unavailable):
        await stages.claim.claim(event, asyncio.Event())
    assert stages.ledger.claims == {}
    assert (await stages.claim.claim(event, asyncio.Event())).payload is None
    stages.payloads.stored["p"] = Payload("long", None, "")
    other = a_dispatch()
    other.content.payload_id = "p"
    assert (await stages.claim.claim(other, asyncio.Event())).payload == Payload("long", None, "")


async def test_a_claim_of_which_nothing_is_known_fails_alone() -> None:
    stages, events = Stages(), [a_dispatch(), a_dispatch()]
    claim_all = stages.ledger.claim_all

    async def first_unknown(keys: Any) -> Any:
        return [Unavailable("not found"), *(await claim_all(keys))[1:]]

    stages.ledger.claim_all = first_unknown  # type: ignore[method-assign]
    unknown, ours = await asyncio.gather(
        *[stages.claim.claim(event, asyncio.Event()) for event in events], return_exceptions=True
    )
    assert isinstance(unknown, Unavailable)
    assert not isinstance(ours, BaseException)
    assert ours.decision == Call()


async def test_concurrent_outcomes_are_one_write_and_go_out_together() -> None:
    stages, events = Stages(), [a_dispatch() for _ in range(3)]
    outcomes = [Delivered("1"), TransientFailure("busy"), Delivered("3")]
    results = await asyncio.gather(*[stages.record.record(*one) for one in zip(events, outcomes, strict=True)])
    assert results == [ACK] * 3
    assert [[one.key for one in batch] for batch in stages.ledger.settled] == [[attempt_key(e) for e in events]]
    assert stages.publisher.types() == sorted([types.SENT, types.RETRY_SCHEDULED, types.SENT])
    assert [(one.attempt, stages.publisher.delays_ms) for one in stages.publisher.later] == [(2, [100])]


async def test_while_the_broker_is_away_outcomes_are_stored_all_the_same() -> None:
    stages = Stages()
    gate = asyncio.Event()

    async def waits(events: object, *, timeout_s: float | None = None) -> None:
        await gate.wait()

    stages.publisher.publish = waits  # type: ignore[method-assign]
    recording = []
    for number in range(20):
        event = a_dispatch()
        recording.append(asyncio.create_task(stages.record.record(event, Delivered(str(number)))))
        await eventually(lambda: len(stages.ledger.claims) == len(recording))
    gate.set()
    assert await asyncio.gather(*recording) == [ACK] * 20


async def test_an_outcome_that_is_not_stored_is_remembered_and_one_that_is_is_not() -> None:
    stages, event = Stages(), a_dispatch()
    key = attempt_key(event)
    stages.ledger.refused.add(key)
    with pytest.raises(Unstorable):
        await stages.record.record(event, Delivered("x"))
    assert stages.record.known(key) == Delivered("x")
    stages.ledger.refused.clear()
    await stages.record.give_up(event, "too often")
    assert stages.ledger.claims[key].outcome == Delivered("x")
    assert stages.record.known(key) is None
