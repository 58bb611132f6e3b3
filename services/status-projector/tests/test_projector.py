"""The projector's two collections hold what was told, and the read model is the fold of the event store."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from status_projector.model import facts_document, projection
from status_projector.model.facts import Facts
from status_projector.model.read_model import ReadModel
from status_projector.projector import Projector
from status_projector.recovery.checker import Checker
from status_projector.store.event_store import Appended, EventStore
from wavecom_common.events import types
from wavecom_common.kernel.errors import Draining, Unavailable
from wavecom_common.messaging.incoming import Incoming
from wavecom_common.messaging.outcome import ACK, DeadLetter
from wavecom_common.storage import names
from wavecom_common.storage.client import Database
from wavecom_common.storage.driver import ObjectId
from wavecom_common.testing.builders import NOW_MS, a_dispatch, a_request
from wavecom_common.testing.histories import deliveries, histories
from wavecom_proto.v1.events_pb2 import Event

QUEUE = "status-projector.events"


@pytest.mark.connected
@pytest.mark.timeout(180)
@settings(
    max_examples=25,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(st.data(), st.lists(histories(), min_size=8, max_size=12))
async def test_the_database_holds_the_fold_whatever_order_repetition_and_batching(
    database: Database, data: st.DataObject, told: list[list[Event]]
) -> None:
    events = [event for history in told for event in history]
    batches = data.draw(deliveries(events))
    projectors = [_projector(database), _projector(database, max_events=20)]

    await asyncio.gather(
        *[projectors[place % 2](_incoming(batch)) for place, batch in enumerate(batches)],
    )

    expected = {nid: facts_document.document(state) for nid, state in projection.fold(events).items()}
    assert await _documents(database, expected) == expected
    assert {event.event_id for event in events} <= {event.event_id async for event in EventStore(database).stream()}


@pytest.mark.connected
async def test_what_was_told_twice_with_other_times_leaves_model_and_store_agreed(database: Database) -> None:
    request = a_request()
    attempt = a_dispatch(request=request)
    tellings = [
        types.sent(attempt, provider="simulated", provider_message_id="", now_ms=NOW_MS + late) for late in (50, 10, 90)
    ]
    projector = _projector(database)

    for told in [[request], *[[telling] for telling in tellings], tellings]:
        assert await projector(_incoming(told)) == [ACK] * len(told)

    stored = [event async for event in EventStore(database).stream()]
    assert tellings[0] in stored
    assert projection.fold(stored) == await _model(database)


_DEEP = '{"a":' * 300 + "1" + "}" * 300
_REFUSED_METADATA = [
    "[]",
    "{",
    '{"n": 18446744073709551615}',
    '{"a\\u0000b": 1}',
    _DEEP,
    '{"a": [' + "0," * 400_000 + "0]}",
]


@pytest.mark.connected
async def test_refused_events_are_dead_lettered_alone_and_leave_no_trace_in_the_store(database: Database) -> None:
    refused = [a_request() for _ in range(len(_REFUSED_METADATA) + 3)]
    for event, text in zip(refused, _REFUSED_METADATA, strict=False):
        event.content.metadata_json = text
    refused[-1].notification_id = refused[-1].notification_id.upper()
    refused[-2].event_id = "of another form"
    refused[-3].content.message = "x" * 5_000_000
    fine = [a_request() for _ in refused]
    told = [event for pair in zip(fine, refused, strict=True) for event in pair]

    outcomes = await _projector(database)(_incoming(told))

    assert [type(outcome) for outcome in outcomes] == [type(ACK), DeadLetter] * len(fine)
    # They are delivered all the same: nobody is told that they failed.
    assert not [outcome for outcome in outcomes if isinstance(outcome, DeadLetter) and outcome.fails]
    assert {event.event_id async for event in EventStore(database).stream()} == {event.event_id for event in fine}
    assert set(await _model(database)) == {event.notification_id for event in fine}


@pytest.mark.connected
async def test_an_event_as_large_as_is_taken_fits_into_the_model(database: Database) -> None:
    request = a_request(message="x" * 4_190_000)
    attempt = a_dispatch(request=request)
    failed = types.failed(attempt, error="y" * 4_190_000, reason=types.PERMANENT, now_ms=NOW_MS)
    # Numbers of one digit need six times the room as a document.
    small = a_request()
    small.content.metadata_json = '{"a": [' + "0," * 350_000 + "0]}"

    for event in (request, failed, small):
        assert await _projector(database)(_incoming([event])) == [ACK]

    assert (await Checker(EventStore(database), ReadModel(database), settle_s=0).run()).differing == 0


@pytest.mark.connected
async def test_concurrent_messages_are_written_together(database: Database) -> None:
    store = _CountingStore(database)
    projector = Projector(store, ReadModel(database), max_events=1000, linger_s=0.05)

    await asyncio.gather(*[projector(_incoming([a_request()])) for _ in range(50)])

    assert store.batches == [50]


async def test_an_outage_is_the_callers_to_wait_for() -> None:
    away = Database("mongodb://127.0.0.1:1/?directConnection=true", "none", operation_timeout_s=0.1)

    with pytest.raises(Unavailable):
        await _projector(away)(_incoming([a_request()]))

    await away.close()


@pytest.mark.connected
async def test_what_is_begun_is_stored_and_folded_also_when_the_process_is_told_to_stop(database: Database) -> None:
    store = _SlowStore(database)
    incoming = _incoming([a_request()])
    projecting = asyncio.create_task(Projector(store, ReadModel(database), max_events=9, linger_s=0)(incoming))
    await store.asked.wait()

    incoming.draining.set()
    incoming.link.abandoned.set()
    assert not (await asyncio.wait([projecting], timeout=0.1))[0]
    store.answer.set()

    assert await projecting == [ACK]
    assert set(await _model(database)) == {incoming.events[0].notification_id}


@pytest.mark.connected
async def test_nobody_waits_for_the_database_over_a_lost_link_but_what_is_begun_is_stored_and_folded(
    database: Database,
) -> None:
    store, model = _SlowStore(database), _BusyModel(database)
    incoming = _incoming([a_request()])
    projector = Projector(store, model, max_events=9, linger_s=0)
    projecting = asyncio.create_task(projector(incoming))
    await store.asked.wait()

    incoming.link.lose()

    with pytest.raises(Draining):
        await projecting
    incoming.draining.set()
    store.answer.set()
    await projector.drain()
    assert model.tries == 3
    assert set(await _model(database)) == {incoming.events[0].notification_id}


class _BusyModel(ReadModel):
    """Takes something only when it is asked for the third time."""

    tries = 0

    async def merge(self, facts: Mapping[str, Facts]) -> None:
        self.tries += 1
        if self.tries < 3:
            raise Unavailable("busy")
        await super().merge(facts)


class _SlowStore(EventStore):
    """Answers when it is told to."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.asked, self.answer = asyncio.Event(), asyncio.Event()

    async def append(self, events: Sequence[Event]) -> Appended:
        self.asked.set()
        await self.answer.wait()
        return await super().append(events)


class _CountingStore(EventStore):
    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.batches: list[int] = []

    async def append(self, events: Sequence[Event]) -> Appended:
        self.batches.append(len(events))
        return await super().append(events)


def _projector(database: Database, *, max_events: int = 1000) -> Projector:
    return Projector(EventStore(database), ReadModel(database), max_events=max_events, linger_s=0)


def _incoming(events: Sequence[Event]) -> Incoming:
    return Incoming(QUEUE, "m", events, asyncio.Event())


async def _model(database: Database) -> dict[str, Facts]:
    return {nid: facts async for nid, facts in ReadModel(database).stream()}


async def _documents(database: Database, ids: dict[str, object]) -> dict[str, dict[str, object]]:
    found = (
        await database.collection(names.NOTIFICATIONS)
        .find({"_id": {"$in": [ObjectId(nid) for nid in ids]}})
        .to_list(None)
    )
    return {str(document.pop("_id")): document for document in found}
