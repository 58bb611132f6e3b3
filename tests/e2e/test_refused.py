"""What was refused is not delivered: 503 although a part of the request is with the broker, which keeps what it has."""

import json
import signal
from collections.abc import Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest
from status_projector.store.event_store import EventStore
from wavecom_common.events import routing, types
from wavecom_common.messaging import topology
from wavecom_common.storage.client import Database
from wavecom_common.testing.broker import depth
from wavecom_common.testing.waiting import eventually
from wavecom_proto.v1.events_pb2 import Event

from tests.e2e.stage import BODY, PATH, Stage, api, process, withdrawn
from tests.e2e.swallowing import ConfirmSwallowingProxy
from tests.proxied import proxied

pytestmark = [pytest.mark.connected, pytest.mark.timeout(120)]

BATCH = f"{PATH}/batch"
SETTINGS = {
    "WAVECOM_RETRY_BASE_DELAY_S": "1",
    "WAVECOM_RETRY_LEVELS": "1",
    "WAVECOM_SIMULATED_SUCCESS_RATE": "1",
    "WAVECOM_SIMULATED_MIN_DELAY_MS": "0",
    "WAVECOM_SIMULATED_MAX_DELAY_MS": "0",
    "WAVECOM_SWEEP_AFTER_S": "1",
    "WAVECOM_SWEEP_REQUESTS_AFTER_S": "1",
    "WAVECOM_SWEEP_INTERVAL_S": "0.5",
}
# Of the API, which answers before a test has waited long.
QUICK = {"WAVECOM_ACCEPT_TIMEOUT_S": "2"}


@pytest.fixture
def room() -> int | None:
    """How many messages the dispatcher's queue takes; None: as usual."""
    return None


@pytest.fixture
def planned(room: int | None) -> topology.Topology:
    plan = topology.plan([1_000])
    if room is None:
        return plan

    def small(queue: topology.Queue) -> topology.Queue:
        if queue.name != routing.DISPATCHER_QUEUE:
            return queue
        return replace(queue, arguments={**queue.arguments, "x-max-length": room})

    return replace(plan, queues=[small(queue) for queue in plan.queues])


@dataclass(frozen=True)
class Ended:
    """What became of everything, once nothing waits any more."""

    called: list[str]
    failed: dict[str, str]


@pytest.fixture
def finish(stage: Stage, mongodb_url: str, database_name: str):
    """`await finish(ids)`: everything that reads a queue runs until each of these ids has its end and nothing waits."""

    async def run(accepted: Iterable[str]) -> Ended:
        calls = stage.folder / "calls"
        async with AsyncExitStack() as stack:
            database = Database(mongodb_url, database_name)
            stack.push_async_callback(database.close)
            for module in (["dispatcher"], ["sms_sender"], ["status_projector", "projector"]):
                more = {**SETTINGS, "WAVECOM_SIMULATED_CALLS_FILE": str(calls)}
                await stack.enter_async_context(process(stage, "-m", *module, **more))

            async def ends() -> dict[str, Event] | None:
                events = [event async for event in EventStore(database).stream()]
                ends = {event.notification_id: event for event in events if event.type in types.TERMINAL_TYPES}
                stored = {event.notification_id for event in events}
                return ends if ends.keys() >= stored | set(accepted) and await _nothing_waits(stage) else None

            found = await eventually(ends, timeout_s=60, what="the end of everything") or {}
        called = [json.loads(line)["notificationId"] for line in _lines(calls)]
        return Ended(called, {one: end.failed.reason for one, end in found.items() if end.type == types.FAILED})

    return run


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


async def _nothing_waits(stage: Stage) -> bool:
    queues = [queue.name for queue in topology.plan([]).queues if not queue.name.endswith(routing.dead_queue(""))]
    return not any([await depth(stage.broker_url, name) for name in queues])


async def posted(client: httpx.AsyncClient) -> httpx.Response:
    """The answer to a request that is accepted: one sent before there is a link is refused, and never published."""

    async def accepted() -> httpx.Response | None:
        answer = await client.post(PATH, json=BODY)
        return answer if answer.status_code == 201 else None

    answer = await eventually(accepted, timeout_s=30, what="a link")
    assert answer is not None
    return answer


def _ids(answer: httpx.Response) -> list[str]:
    """Those that an answer says are accepted."""
    data = answer.json().get("data") or {}
    results = data.get("results", [{"status": answer.json()["status"], "data": data}])
    return [result["data"]["id"] for result in results if result["status"] == "success"]


@pytest.mark.parametrize("room", [1])
async def test_with_room_for_one_what_is_answered_with_503_is_never_sent(
    stage: Stage, finish, unused_tcp_port: int
) -> None:
    async with api(stage, unused_tcp_port) as (_, client):
        answers = [await client.post(PATH, json=BODY) for _ in range(20)]
    accepted = [one for answer in answers if answer.status_code == 201 for one in _ids(answer)]
    assert {answer.status_code for answer in answers} == {201, 503}

    ended = await finish(accepted)

    assert sorted(ended.called) == sorted(accepted)
    assert len(accepted) < 20
    assert set(ended.failed.values()) == {"refused"}


async def test_a_request_whose_second_confirm_is_swallowed_is_never_sent(
    stage: Stage, finish, unused_tcp_port: int
) -> None:
    async with (
        proxied(stage.broker_url, ConfirmSwallowingProxy) as (proxy, url),
        api(stage, unused_tcp_port, **QUICK, WAVECOM_RABBITMQ_URL=url) as (_, client),
    ):
        accepted = await posted(client)
        proxy.confirms_left = 1
        refused = await client.post(PATH, json=BODY)

    assert (accepted.status_code, refused.status_code) == (201, 503)
    assert await depth(stage.broker_url, routing.DISPATCHER_QUEUE) == 2
    ended = await finish(_ids(accepted))
    assert ended.called == _ids(accepted)
    assert list(ended.failed.values()) == ["refused"]


@pytest.mark.parametrize("room", [1])
async def test_of_a_batch_with_room_for_a_part_nothing_is_sent_that_is_not_accepted(
    stage: Stage, finish, unused_tcp_port: int
) -> None:
    async with api(stage, unused_tcp_port, WAVECOM_BATCH_MAX_EVENTS="2") as (_, client):
        answer = await client.post(BATCH, json={"notifications": [BODY] * 20})
    assert answer.status_code == 503

    ended = await finish([])

    assert ended.called == []
    assert set(ended.failed.values()) == {"refused"}


@pytest.mark.parametrize("room", [1])
async def test_a_key_whose_request_was_refused_stands_for_another_notification_next_time(
    stage: Stage, finish, unused_tcp_port: int
) -> None:
    key = {"Idempotency-Key": "a-key"}
    async with api(stage, unused_tcp_port) as (_, client):
        first = [await client.post(PATH, json=BODY) for _ in range(5)]
        refused = [await client.post(PATH, json=BODY, headers=key) for _ in range(5)]
        accepted = [one for answer in first if answer.status_code == 201 for one in _ids(answer)]
        ended = await finish(accepted)
        assert {answer.status_code for answer in refused} == {503}
        assert sorted(ended.called) == sorted(accepted)

        taken = await client.post(PATH, json=BODY, headers=key)
        again = await client.post(PATH, json=BODY, headers=key)
    assert (taken.status_code, again.status_code) == (201, 201)
    assert again.content == taken.content
    assert not {*_ids(taken)} & ended.failed.keys()
    after = await finish([*accepted, *_ids(taken)])
    assert sorted(after.called) == sorted([*accepted, *_ids(taken)])


async def test_with_the_database_away_what_was_refused_is_withdrawn_when_it_is_back(
    stage: Stage, finish, mongodb_url: str, unused_tcp_port: int
) -> None:
    async with (
        proxied(stage.broker_url, ConfirmSwallowingProxy) as (broker, broker_url),
        proxied(mongodb_url) as (database, database_url),
        api(stage, unused_tcp_port, **QUICK, WAVECOM_RABBITMQ_URL=broker_url, WAVECOM_MONGODB_URL=database_url) as (
            _,
            client,
        ),
    ):
        accepted = await posted(client)
        database.blackhole(True)
        broker.confirms_left = 1
        refused = await client.post(PATH, json=BODY)
        assert refused.status_code == 503
        database.blackhole(False)
        await eventually(lambda: withdrawn(stage), timeout_s=30, what="the withdrawal")

    ended = await finish(_ids(accepted))
    assert ended.called == _ids(accepted)
    assert list(ended.failed.values()) == ["refused"]


async def test_a_process_that_is_told_to_stop_withdraws_what_it_refused(
    stage: Stage, finish, mongodb_url: str, unused_tcp_port: int
) -> None:
    async with (
        proxied(stage.broker_url, ConfirmSwallowingProxy) as (broker, broker_url),
        proxied(mongodb_url) as (database, database_url),
        api(stage, unused_tcp_port, **QUICK, WAVECOM_RABBITMQ_URL=broker_url, WAVECOM_MONGODB_URL=database_url) as (
            copy,
            client,
        ),
    ):
        accepted = await posted(client)
        database.blackhole(True)
        broker.confirms_left = 1
        assert (await client.post(PATH, json=BODY)).status_code == 503
        copy.send_signal(signal.SIGTERM)
        database.blackhole(False)
        assert await copy.wait() == 0

    assert (await finish(_ids(accepted))).called == _ids(accepted)


async def test_one_that_a_sender_has_already_is_accepted(stage: Stage, finish, unused_tcp_port: int) -> None:
    """Its confirm comes never, its delivery at once."""
    async with (
        proxied(stage.broker_url, ConfirmSwallowingProxy) as (proxy, url),
        api(stage, unused_tcp_port, **QUICK, WAVECOM_RABBITMQ_URL=url) as (_, client),
        process(stage, "-m", "dispatcher", **SETTINGS),
        process(stage, "-m", "sms_sender", **SETTINGS, WAVECOM_SIMULATED_CALLS_FILE=str(stage.folder / "calls")),
    ):
        first = await posted(client)
        await eventually(lambda: len(_lines(stage.folder / "calls")) == 1, timeout_s=30, what="the first call")
        proxy.confirms_left = 1
        second = await client.post(PATH, json=BODY)

    assert (first.status_code, second.status_code) == (201, 201)
    ended = await finish([*_ids(first), *_ids(second)])
    assert sorted(ended.called) == sorted([*_ids(first), *_ids(second)])
    assert ended.failed == {}
