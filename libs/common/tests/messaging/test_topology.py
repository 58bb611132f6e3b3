"""What `wavecom topology apply` leaves on a real broker, as its management tells it."""

from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from wavecom_common.events import routing
from wavecom_common.messaging import dead_letters, topology

DELAYS_MS = [100, 1000]
OF_EVERY_QUEUE = {"x-queue-type": "quorum", "x-max-length": 1_000_000, "x-overflow": "reject-publish"}


def queues(broker_url: str, management_url: str) -> list[dict[str, Any]]:
    with httpx.Client(base_url=management_url, timeout=30) as api:
        found: list[dict[str, Any]] = api.get(f"/api/queues{urlsplit(broker_url).path}").raise_for_status().json()
        return found


async def test_every_queue_has_exactly_the_planned_arguments(broker_url: str, management_url: str) -> None:
    plan = topology.plan(DELAYS_MS)
    await topology.apply(broker_url, plan, settle_s=0)
    found = queues(broker_url, management_url)
    assert {queue["name"]: queue["arguments"] for queue in found} == {
        queue.name: dict(queue.arguments) for queue in plan.queues
    }
    assert all(queue["durable"] for queue in found)


async def test_nothing_is_dead_lettered_at_most_once_or_thrown_away(broker_url: str, management_url: str) -> None:
    await topology.apply(broker_url, topology.plan(DELAYS_MS), settle_s=0)
    arguments = {queue["name"]: queue["arguments"] for queue in queues(broker_url, management_url)}
    passed_on = {**OF_EVERY_QUEUE, "x-dead-letter-strategy": "at-least-once"}
    for name in dead_letters.queues():
        to_dead = {"x-dead-letter-exchange": "wavecom.dead", "x-dead-letter-routing-key": name}
        assert arguments.pop(name) == {**passed_on, **to_dead, "x-delivery-limit": 100}
        assert arguments.pop(routing.dead_queue(name)) == {**OF_EVERY_QUEUE, "x-delivery-limit": 1_000_000}
    for delay_ms in DELAYS_MS:
        waits = {"x-message-ttl": delay_ms, "x-dead-letter-exchange": "wavecom.events"}
        assert arguments.pop(routing.retry_name(delay_ms)) == {**passed_on, **waits}
    assert arguments == {}


@pytest.mark.parametrize(
    ("exchange", "key", "queues"),
    [
        (routing.EVENTS_EXCHANGE, "notification.requested", {routing.PROJECTOR_QUEUE}),
        (routing.EVENTS_EXCHANGE, "notification.failed.sms", {routing.PROJECTOR_QUEUE}),
        (routing.EVENTS_EXCHANGE, "notification.dispatched.sms.low", {routing.PROJECTOR_QUEUE, "sms-sender.low"}),
        (routing.EVENTS_EXCHANGE, "queue.dispatcher.requested", {routing.DISPATCHER_QUEUE}),
        (routing.DEAD_EXCHANGE, "sms-sender.low", {"sms-sender.low.dead"}),
        (routing.retry_name(5_000), "notification.dispatched.sms.low", {"wavecom.retry.5s"}),
        (routing.retry_name(200), "queue.sms-sender.low", {"wavecom.retry.200ms"}),
        ("another", "key", set()),
    ],
)
def test_the_queues_that_a_message_reaches_are_known(exchange: str, key: str, queues: set[str]) -> None:
    assert set(topology.queues_reached(exchange, key)) == queues
