"""A call whose outcome is known is not made again, whatever goes wrong; and giving up is not the last word."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from wavecom_common.delivery import ledger
from wavecom_common.delivery.ledger import Ledger
from wavecom_common.delivery.loop import DeliveryLoop
from wavecom_common.delivery.port import Attempt
from wavecom_common.delivery.withdrawals import Withdrawals
from wavecom_common.events import routing, types
from wavecom_common.events.outcomes import Delivered, DeliveryOutcome
from wavecom_common.kernel.errors import Unavailable
from wavecom_common.messaging.headers import REPLAYED_HEADER
from wavecom_common.messaging.incoming import Incoming
from wavecom_common.storage.client import Database
from wavecom_common.storage.driver import Collection, Document
from wavecom_common.storage.names import DELIVERIES
from wavecom_common.storage.payloads import Payloads
from wavecom_common.testing.broker import consuming, publishing
from wavecom_common.testing.builders import a_dispatch, a_request
from wavecom_common.testing.waiting import eventually
from wavecom_proto.v1.events_pb2 import Event

from tests.fault.stage import DELAYS_MS, Stage, publish, taken
from tests.proxied import proxied

QUEUE = routing.sender_queue("sms", "medium")


class Provider:
    """Takes everything, and remembers the key of every call."""

    name = "test"

    def __init__(self, answers: int = 1_000) -> None:
        """It gives so many answers, until more are released."""
        self.keys: list[str] = []
        self.answers = asyncio.Semaphore(answers)

    async def deliver(self, attempt: Attempt) -> DeliveryOutcome:
        self.keys.append(attempt.dedup_key)
        await self.answers.acquire()
        return Delivered("taken")

    async def close(self) -> None:
        """Nothing to close."""


@asynccontextmanager
async def sending(
    stage: Stage, provider: Provider, *, publishes_to: str = "", stores_in: str = ""
) -> AsyncIterator[DeliveryLoop]:
    """A sender in this process, as it is wired; at the end it drains."""
    database = database_of(stage, stores_in)
    try:
        async with publishing(publishes_to or stage.broker_url) as publisher:
            loop = DeliveryLoop(
                provider,
                Ledger(database, owner="test"),
                Payloads(database),
                publisher,
                max_in_flight=10,
                provider_timeout_s=5,
                retry_delays_ms=DELAYS_MS[:3],
                look_again_ms=DELAYS_MS[0],
            )
            async with consuming(
                stage.broker_url, loop.handle, publisher, QUEUE, give_up=loop.give_up, retry_delay_ms=DELAYS_MS[0]
            ):
                yield loop
    finally:
        await database.close()


async def test_a_call_whose_outcome_could_not_be_stored_is_not_made_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert_new, failures = ledger.insert_new, 3

    async def failing(collection: Collection, documents: Sequence[Document]) -> set[int]:
        nonlocal failures
        if failures and all(str(document["_id"]).endswith(":settled") for document in documents):
            failures -= 1
            raise ZeroDivisionError
        return await insert_new(collection, documents)

    monkeypatch.setattr(ledger, "insert_new", failing)
    provider, events = Provider(), [a_dispatch(request=a_request(channel="sms")) for _ in range(2)]
    async with sending(stage, provider):
        await publish(stage, *events)
        told: list[Event] = []

        async def ended() -> bool:
            told.extend(await taken(stage))
            return len({event.notification_id for event in told if event.type == types.SENT}) == len(events)

        await eventually(ended, what="both ends")

    assert failures == 0
    assert sorted(provider.keys) == sorted(event.dedup_key for event in events)
    assert types.OUTCOME_UNKNOWN not in {event.type for event in told}


async def test_outcomes_are_stored_while_the_broker_is_away(stage: Stage) -> None:
    provider, events = Provider(answers=0), [a_dispatch(request=a_request(channel="sms")) for _ in range(10)]
    database = database_of(stage)
    deliveries = database.collection(DELIVERIES)
    async with proxied(stage.broker_url) as (proxy, url), sending(stage, provider, publishes_to=url):
        await publish(stage, *events)
        await eventually(lambda: len(provider.keys) == len(events), what="every call")
        proxy.blackhole(True)
        # One by one, so that none is stored in the company of another.
        for answered in range(1, len(events) + 1):
            provider.answers.release()

            async def stored() -> bool:
                return await deliveries.count_documents({"_id": {"$regex": ":settled$"}}) == answered  # noqa: B023

            await eventually(stored, timeout_s=5, what=f"outcome {answered}")
        proxy.blackhole(False)
        ended: set[str] = set()

        async def told() -> bool:
            ended.update(event.notification_id for event in await taken(stage) if event.type == types.SENT)
            return len(ended) == len(events)

        await eventually(told, timeout_s=30, what="every end")
    assert len(provider.keys) == len(events)
    await database.close()


async def test_outcomes_of_calls_that_end_while_it_drains_are_stored_when_the_database_is_back(stage: Stage) -> None:
    provider, events = Provider(answers=0), [a_dispatch(request=a_request(channel="sms")) for _ in range(3)]
    database = database_of(stage)
    loop = asyncio.get_running_loop()
    async with proxied(stage.environment["WAVECOM_MONGODB_URL"]) as (proxy, url):
        async with sending(stage, provider, stores_in=url):
            await publish(stage, *events)
            await eventually(lambda: len(provider.keys) == len(events), what="every call")
            proxy.refuse(True)
            proxy.cut()
            for _ in events:
                provider.answers.release()
            # Longer than a write may take, so that it fails while it drains.
            loop.call_later(3, proxy.refuse, False)
        assert await database.collection(DELIVERIES).count_documents({"_id": {"$regex": ":settled$"}}) == len(events)
    await database.close()


async def test_a_take_over_that_could_not_be_reported_is_left_to_others(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    event, provider = a_dispatch(request=a_request(channel="sms")), Provider()
    key = f"{event.notification_id}:1"
    database = database_of(stage)
    dead, cut_off, other = (Ledger(database, owner=owner, lease_s=1) for owner in ("dead", "cut off", "other"))
    await dead.claim(key)

    async def away(*_: object, **__: object) -> None:
        raise Unavailable("cut off from the broker")

    async def takes_over(ledger: Ledger) -> bool:
        found = await ledger.claim(key)
        assert found is not None
        return found.lease_until_ms < ledger.now_ms() and await ledger.take_over(key, found)

    await cut_off.start()
    async with publishing(stage.broker_url) as publisher:
        monkeypatch.setattr(publisher, "publish", away)
        loop = DeliveryLoop(
            provider,
            cut_off,
            Payloads(database),
            publisher,
            max_in_flight=10,
            provider_timeout_s=5,
            retry_delays_ms=DELAYS_MS[:3],
            look_again_ms=DELAYS_MS[0],
        )

        async def reported() -> bool:
            """Looks again while the dead one's lease runs, and then fails to report that it took over."""
            try:
                await loop.handle(Incoming("q", "m", [event], asyncio.Event()))
            except Unavailable:
                return True
            return False

        await eventually(reported, what="the take-over")
        await eventually(lambda: takes_over(other), timeout_s=5, what="the end of its lease")
    await cut_off.close()
    await database.close()
    assert provider.keys == []


async def test_an_attempt_that_was_given_up_is_made_when_it_is_replayed_and_only_once(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider, event = Provider(), a_dispatch(request=a_request(channel="sms", max_attempts=1))
    async with sending(stage, provider) as loop:
        with monkeypatch.context() as bug:
            bug.setattr(loop, "_claim", None)
            await publish(stage, event)
            dead = await eventually(lambda: taken(stage, routing.dead_queue(QUEUE)), what="the dead letter")
        assert dead == [event]
        assert types.FAILED in [told.type for told in await taken(stage)]

        await replay(stage, event)
        told: list[Event] = []

        async def sent() -> bool:
            told.extend(await taken(stage))
            return types.SENT in [event.type for event in told]

        await eventually(sent, what="the send")
        assert [(one.type, one.attempt) for one in told if one.type in (types.DISPATCHED, types.SENT)] == [
            (types.DISPATCHED, 2),
            (types.SENT, 2),
        ]

        await replay(stage, event)
        again: list[Event] = []

        async def told_again() -> bool:
            again.extend(await taken(stage))
            return types.SENT in [event.type for event in again]

        await eventually(told_again, what="the second answer")
    assert provider.keys == [event.dedup_key]


async def test_what_was_withdrawn_ends_as_refused_and_no_call_is_made_not_even_when_it_is_replayed(
    stage: Stage,
) -> None:
    provider, event = Provider(), a_dispatch(request=a_request(channel="sms"))
    database = database_of(stage)
    assert await Withdrawals(database).withdraw([event.notification_id]) == {event.notification_id}
    async with sending(stage, provider):
        for way in (publish, replay):
            await way(stage, event)
            told: list[Event] = []

            async def ended() -> bool:
                told.extend(await taken(stage))  # noqa: B023
                return types.FAILED in [one.type for one in told]  # noqa: B023

            await eventually(ended, what="the end")
            # Nothing was started.
            assert {one.type for one in told} - {types.DISPATCHED} == {types.FAILED}
            assert told[-1].failed.reason == types.REFUSED
    assert provider.keys == []
    await database.close()


def database_of(stage: Stage, url: str = "") -> Database:
    url = url or stage.environment["WAVECOM_MONGODB_URL"]
    return Database(url, stage.environment["WAVECOM_MONGODB_DATABASE"], operation_timeout_s=1)


async def replay(stage: Stage, event: Event) -> None:
    async with publishing(stage.broker_url) as publisher:
        message = publisher.message([event], {REPLAYED_HEADER: 1})
        await publisher.publish_message(routing.EVENTS_EXCHANGE, routing.direct_key(QUEUE), message)
