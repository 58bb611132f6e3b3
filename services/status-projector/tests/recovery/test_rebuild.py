"""A rebuild, step by step, on a real database: what it reads, where it goes on, when it moves the readers."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from status_projector.model import projection
from status_projector.model.live_model import LiveModel
from status_projector.model.pointer import Phase, Pointer, Pointers
from status_projector.model.read_model import Filters, ReadModel
from status_projector.projector import Projector
from status_projector.recovery.checker import Checker, Report
from status_projector.recovery.rebuild import Rebuild
from status_projector.store.event_store import EventStore
from wavecom_common.events import types
from wavecom_common.kernel.errors import Refused
from wavecom_common.messaging.incoming import Incoming
from wavecom_common.messaging.outcome import ACK
from wavecom_common.storage import indexes, names
from wavecom_common.storage.client import Database
from wavecom_common.testing.builders import NOW_MS, a_dispatch, a_request
from wavecom_proto.v1.events_pb2 import Event

pytestmark = pytest.mark.connected

FIRST, SECOND = names.READ_MODELS


class NoWaits:
    """A clock whose waits are over at once."""

    def __init__(self) -> None:
        self._now_ms = NOW_MS

    def now_ms(self) -> int:
        return self._now_ms

    async def sleep(self, seconds: float) -> None:
        self._now_ms += round(seconds * 1000)


@pytest.fixture
async def rebuild(database: Database) -> AsyncIterator[Rebuild]:
    return Rebuild(database, clock=NoWaits())


async def test_readers_move_to_the_new_collection_and_back_and_both_stay_up_to_date(
    database: Database, rebuild: Rebuild
) -> None:
    requests = [a_request() for _ in range(1100)]
    await project(database, requests)

    rebuilt = await rebuild.run()

    assert (rebuilt.live, rebuilt.resumed, rebuilt.events, rebuilt.report.differing) == (SECOND, False, 1100, 0)
    assert await Pointers(database).read() == Pointer(SECOND, Phase.KEPT, "", 2)
    await project(database, [sent(request) for request in requests[:10]])
    for name in names.READ_MODELS:
        report = await check(database, name)
        assert (report.differing, report.open) == (0, 1090)
    assert await rebuild.rollback() == FIRST
    assert await LiveModel(database).count(Filters("default", status="sent")) == 10
    assert await rebuild.rollback() == SECOND


async def test_the_new_collection_has_every_index_before_readers_come(database: Database, rebuild: Rebuild) -> None:
    await indexes.apply(database)

    await rebuild.run()

    first, second = [await database.collection(name).index_information() for name in names.READ_MODELS]
    assert first == second


async def test_what_is_wrong_in_the_old_model_is_not_in_the_new_one(database: Database, rebuild: Rebuild) -> None:
    await project(database, [a_request() for _ in range(3)])
    await database.collection(FIRST).update_many({}, {"$set": {"message": "wrong"}})

    await rebuild.run()

    assert (await check(database, FIRST)).differing == 3
    assert (await check(database, SECOND)).differing == 0


async def test_an_interrupted_rebuild_goes_on_where_it_was(database: Database, rebuild: Rebuild) -> None:
    requests = sorted([a_request() for _ in range(1100)], key=lambda event: event.notification_id)
    await project(database, requests)
    building = await Pointers(database).change(Pointer(), Pointer().to(Phase.BUILDING))
    await ReadModel(database, SECOND).merge(projection.fold(requests[:1000]))
    await Pointers(database).note_progress(building, requests[999].notification_id)

    rebuilt = await rebuild.run()

    assert (rebuilt.resumed, rebuilt.events, rebuilt.live) == (True, 100, SECOND)
    assert (await check(database, SECOND)).differing == 0


async def test_events_of_old_notifications_that_come_during_the_rebuild_are_in_the_new_model(
    database: Database,
) -> None:
    requests = sorted([a_request() for _ in range(1050)], key=lambda event: event.notification_id)
    # One projector, at work since before the rebuild.
    projector = Projector(EventStore(database), LiveModel(database), max_events=1000, linger_s=0)
    await projector(incoming(requests))
    found: list[str] = []

    class MeanwhileProjecting(Rebuild):
        async def _compare(self, model: ReadModel) -> Report:
            # The walk has passed it.
            await projector(incoming([sent(requests[0])]))
            documents = await model.documents_of([requests[0].notification_id])
            found.extend(document["head"]["status"] for document in documents.values())
            return await super()._compare(model)

    rebuilt = await MeanwhileProjecting(database, clock=NoWaits()).run()

    assert found == ["sent"]
    assert (rebuilt.live, rebuilt.report.differing) == (SECOND, 0)


async def test_a_projector_that_stood_still_since_before_the_rebuild_loses_nothing(database: Database) -> None:
    request, entered, go_on = a_request(), asyncio.Event(), asyncio.Event()

    class StandingStill(LiveModel):
        """Stands still with an old pointer in hand, after the event is stored."""

        async def merge(self, facts: object) -> None:
            entered.set()
            await go_on.wait()
            await ReadModel(database, FIRST).merge(facts)  # type: ignore[arg-type]

    projector = Projector(EventStore(database), StandingStill(database), max_events=1000, linger_s=0)
    standing = asyncio.create_task(projector(incoming([request])))
    await entered.wait()
    await Rebuild(database, clock=NoWaits()).run()
    go_on.set()
    await standing

    assert (await check(database, SECOND)).differing == 0


async def test_an_event_whose_projector_died_between_its_writes_does_not_stop_the_rebuild(
    database: Database,
) -> None:
    request = a_request()
    await project(database, [request])

    class MeanwhileDying(Rebuild):
        async def _compare(self, model: ReadModel) -> Report:
            await EventStore(database).append([sent(request)])
            return await super()._compare(model)

    rebuilt = await MeanwhileDying(database, clock=NoWaits()).run()

    assert (rebuilt.live, rebuilt.report.differing) == (SECOND, 0)


async def test_a_new_model_that_is_not_the_fold_is_never_read(database: Database, rebuild: Rebuild) -> None:
    await project(database, [a_request() for _ in range(2)])
    await ReadModel(database, SECOND).merge(projection.fold([sent(a_request())]))

    rebuilt = await rebuild.run()

    assert (rebuilt.live, rebuilt.report.differing) == (FIRST, 1)
    assert (await Pointers(database).read()).phase is Phase.BUILDING
    await rebuild.drop()
    assert (await rebuild.run()).live == SECOND


async def test_what_is_dropped_is_gone_and_makes_room_for_the_next_rebuild(
    database: Database, rebuild: Rebuild
) -> None:
    await project(database, [a_request()])
    await rebuild.run()
    with pytest.raises(Refused, match="drop it first"):
        await rebuild.run()

    assert await rebuild.drop() == FIRST

    assert await database.collection(FIRST).count_documents({}) == 0
    assert await LiveModel(database).count(Filters("default")) == 1
    with pytest.raises(Refused, match="nothing but the live read model"):
        await rebuild.drop()
    with pytest.raises(Refused, match="no earlier read model"):
        await rebuild.rollback()
    assert (await rebuild.run()).live == FIRST


async def test_of_two_that_change_the_pointer_at_once_one_is_refused(database: Database) -> None:
    pointers = Pointers(database)
    wanted = Pointer().to(Phase.BUILDING)

    results = await asyncio.gather(*[pointers.change(Pointer(), wanted) for _ in range(8)], return_exceptions=True)

    assert sum(isinstance(result, Pointer) for result in results) == 1
    assert sum(isinstance(result, Refused) for result in results) == 7


async def project(database: Database, events: Sequence[Event]) -> None:
    projector = Projector(EventStore(database), LiveModel(database), max_events=1000, linger_s=0)
    assert set(await projector(incoming(events))) == {ACK}


async def check(database: Database, collection: str) -> Report:
    return await Checker(EventStore(database), ReadModel(database, collection), settle_s=0).run()


def incoming(events: Sequence[Event]) -> Incoming:
    return Incoming("status-projector.events", "m", events, asyncio.Event())


def sent(request: Event) -> Event:
    return types.sent(a_dispatch(request=request), provider="simulated", provider_message_id="", now_ms=NOW_MS + 5)
