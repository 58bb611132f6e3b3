"""What was refused although the broker may have it is withdrawn, before the client hears or as soon as can be."""

import asyncio
import gc

import pytest
from ingest_api.routes import BATCH, NOTIFICATIONS
from ingest_api.withdrawals import Withdrawals
from wavecom_common.channels.request import ChannelRequest
from wavecom_common.events import types
from wavecom_common.kernel.errors import Unavailable
from wavecom_common.testing.builders import a_request
from wavecom_common.testing.waiting import eventually

SMS = {"recipient": "+2348012345678", "message": "Hello", "channel": "sms"}


@pytest.fixture
def failing(pipeline):
    """Every request reaches the broker, none is confirmed, and the first so many of a call are with a sender."""

    def fail(ledger, *, claimed: int = 0):
        publish = pipeline.publish

        async def unconfirmed(events, *, timeout_s):
            if events[0].type != types.REQUESTED:
                return await publish(events, timeout_s=timeout_s)
            pipeline.events += events
            ledger.claimed.update(event.notification_id for event in events[:claimed])
            raise Unavailable("no confirm")

        pipeline.publish = unconfirmed

    return fail


async def test_a_refused_request_is_withdrawn_before_the_client_hears_of_it(client, pipeline, ledger, failing):
    failing(ledger)
    answer = await client.post(NOTIFICATIONS, json=SMS)

    assert answer.status_code == 503
    [event] = pipeline.events
    assert ledger.withdrawn == {event.notification_id}


async def test_its_end_is_reported_as_a_sender_that_finds_the_withdrawal_would(client, pipeline, ledger, failing):
    failing(ledger)
    await client.post(NOTIFICATIONS, json=SMS)

    [failed] = await eventually(lambda: pipeline.failed, what="the report")
    [event] = pipeline.events
    assert failed.event_id == types.event_id(event.notification_id, 1, types.FAILED)
    assert (failed.failed.reason, failed.channel, failed.priority) == (types.REFUSED, "sms", "medium")
    assert not failed.HasField("content")


async def test_one_that_a_sender_has_already_is_accepted(client, ledger, failing):
    failing(ledger, claimed=1)
    answer = await client.post(NOTIFICATIONS, json=SMS)

    assert answer.status_code == 201
    assert ledger.claimed == {answer.json()["data"]["id"]}


async def test_of_a_batch_those_that_senders_have_are_accepted_and_the_others_refused(
    client, pipeline, ledger, failing
):
    failing(ledger, claimed=2)
    answer = await client.post(BATCH, json={"notifications": [SMS, {}, SMS, SMS]})

    assert answer.status_code == 207
    data = answer.json()["data"]
    assert (data["accepted"], data["rejected"]) == (2, 2)
    assert [result["status"] for result in data["results"]] == ["success", "error", "success", "error"]
    assert data["results"][3] == {
        "index": 3,
        "status": "error",
        "message": "The notification could not be confirmed as accepted; post it again",
    }
    assert {result["data"]["id"] for result in data["results"] if result["status"] == "success"} == ledger.claimed
    assert ledger.withdrawn == {pipeline.events[2].notification_id}


async def test_a_batch_of_which_senders_have_nothing_is_refused(client, pipeline, ledger, failing):
    failing(ledger)
    answer = await client.post(BATCH, json={"notifications": [SMS] * 3})

    assert answer.status_code == 503
    assert ledger.withdrawn == {event.notification_id for event in pipeline.events}


async def test_what_the_broker_never_had_needs_no_database(client, pipeline, ledger):
    pipeline.failure = Unavailable("not connected", handed_over=False)
    answer = await client.post(NOTIFICATIONS, json=SMS)

    assert answer.status_code == 503
    assert ledger.calls == 0


async def test_without_a_database_the_client_is_refused_and_the_withdrawal_follows(
    client, pipeline, ledger, failing, withdrawals
):
    failing(ledger)
    ledger.failure = Unavailable("x")
    answer = await client.post(NOTIFICATIONS, json=SMS)
    assert (answer.status_code, ledger.withdrawn) == (503, set())

    ledger.failure = None
    await withdrawals.drain()

    assert ledger.withdrawn == {pipeline.events[0].notification_id}


@pytest.mark.parametrize("path", [NOTIFICATIONS, BATCH])
async def test_a_withdrawal_that_waits_holds_nothing_of_what_was_to_be_delivered(
    client, pipeline, ledger, failing, withdrawals, path
):
    failing(ledger)
    ledger.failure = Unavailable("x")
    marked = SMS | {"message": f"of this test, for {path}"}
    body = marked if path == NOTIFICATIONS else {"notifications": [marked, marked, {}]}
    answer = await client.post(path, json=body, headers={"Idempotency-Key": "key-1"})
    assert answer.status_code == 503

    def kept() -> bool:
        gc.collect()
        requests = [one for one in gc.get_objects() if issubclass(type(one), ChannelRequest)]
        return any(one.message == marked["message"] for one in requests)

    await eventually(lambda: not kept(), what="the end of what the request held")
    assert ledger.withdrawn == set()
    ledger.failure = None
    await withdrawals.drain()
    assert ledger.withdrawn == {event.notification_id for event in pipeline.events}


async def test_what_waits_for_the_database_is_bounded(ledger, pipeline, clock):
    withdrawals = Withdrawals(ledger, pipeline, clock, max_pending=3)
    ledger.failure = Unavailable("x")
    events = [a_request() for _ in range(2)]

    async def ask() -> object:
        return await withdrawals.carry_out(lambda: withdrawals.withdraw(events), count=len(events), by_s=0)

    assert await ask() is None
    calls = ledger.calls
    assert await ask() is None
    assert ledger.calls == calls
    ledger.failure = None
    await withdrawals.drain()
    assert await withdrawals.carry_out(
        lambda: withdrawals.withdraw(events), count=2, by_s=asyncio.get_running_loop().time() + 5
    ) == {event.notification_id for event in events}
    await withdrawals.close()


async def test_a_defect_in_a_withdrawal_keeps_nothing_from_stopping(ledger, pipeline, clock):
    withdrawals = Withdrawals(ledger, pipeline, clock)
    ledger.failure = ZeroDivisionError("x")

    async def withdrawn() -> frozenset[str]:
        return await withdrawals.withdraw([a_request()])

    assert await withdrawals.carry_out(withdrawn, count=1, by_s=asyncio.get_running_loop().time() + 5) is None
    await withdrawals.drain()
    await withdrawals.close()
