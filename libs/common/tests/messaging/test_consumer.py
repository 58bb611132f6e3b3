"""The consumer on a broker in memory: what is handled, acknowledged, given back and left, in virtual time."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeAlias

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs
from wavecom_common.kernel.clock import SYSTEM_CLOCK
from wavecom_common.kernel.errors import Unavailable
from wavecom_common.messaging.consumer import Consumer
from wavecom_common.messaging.incoming import Incoming
from wavecom_common.messaging.outcome import ACK, Outcome
from wavecom_common.messaging.publisher import EventPublisher
from wavecom_common.testing.builders import a_request

from .memory_broker import URL, MemoryBroker, virtually

Run: TypeAlias = Callable[[Callable[[MemoryBroker], Awaitable[None]]], None]
pause = SYSTEM_CLOCK.sleep


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    return lambda main: virtually(monkeypatch, main)


class Handler:
    """Keeps what it is given, and answers while its gate is open. With an error set, it raises that."""

    def __init__(self) -> None:
        self.seen: list[Incoming] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None

    async def __call__(self, incoming: Incoming) -> Sequence[Outcome]:
        self.seen.append(incoming)
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return [ACK] * len(incoming.events)


def consuming(
    handler: Handler, *queues: str, prefetch: int = 10, wait: bool = True
) -> AbstractAsyncContextManager[Consumer]:
    @asynccontextmanager
    async def run_it() -> object:
        consumer = Consumer(
            URL,
            name="test",
            queues=queues,
            prefetch=prefetch,
            handler=handler,
            publisher=EventPublisher(URL, name="test", required_queues=[]),
            retry_delay_ms=1_000,
        )
        assert consumer.ready() == "not consuming"
        await consumer.start()
        if wait:
            await pause(0.1)
        yield consumer
        await consumer.close()

    return run_it()  # type: ignore[return-value]


def test_a_message_is_acknowledged_when_it_is_handled_and_not_before(run: Run) -> None:
    async def main(broker: MemoryBroker) -> None:
        broker.depths = {"q": 7}
        handler, event = Handler(), a_request()
        handler.gate.clear()
        async with consuming(handler, "q", prefetch=5) as consumer:
            assert consumer.ready() is None
            assert broker.prefetch == [5]
            assert REGISTRY.get_sample_value("wavecom_queue_depth", {"queue": "q"}) == 7
            tag = broker.deliver("q", event)
            await pause(1)
            [seen] = handler.seen
            assert (seen.queue, seen.message_id, list(seen.events)) == ("q", "m1", [event])
            assert (consumer.held, broker.acked) == (1, [])
            handler.gate.set()
            await pause(1)
            assert (consumer.held, broker.acknowledged()) == (0, {tag})

    run(main)


def test_a_message_brings_its_past_with_it(run: Run) -> None:
    async def main(broker: MemoryBroker) -> None:
        broker.depths = {"q": 0}
        handler = Handler()
        async with consuming(handler, "q"):
            broker.deliver("q", a_request(), x_delivery_count=2, wavecom_returns=3, wavecom_failures=1)
            broker.deliver("q", a_request(), wavecom_replayed=1)
            await pause(1)
        first, second = (incoming.past for incoming in handler.seen)
        assert (first.returns, first.failures, first.replayed, first.quarantined) == (5, 1, False, False)
        assert (second.returns, second.failures, second.replayed) == (0, 0, True)

    run(main)


def test_messages_of_all_its_queues_are_handled_beside_each_other(run: Run) -> None:
    async def main(broker: MemoryBroker) -> None:
        broker.depths = {"one": 0, "two": 0}
        handler = Handler()
        handler.gate.clear()
        async with consuming(handler, "one", "two") as consumer:
            for queue in ("one", "two", "one"):
                broker.deliver(queue, a_request())
            await pause(1)
            assert [incoming.queue for incoming in handler.seen] == ["one", "two", "one"]
            assert consumer.held == 3
            handler.gate.set()
            await pause(1)
        assert broker.acknowledged() == {1, 2, 3}

    run(main)


def test_what_arrives_while_it_drains_is_given_back_and_not_handled(run: Run) -> None:
    async def main(broker: MemoryBroker) -> None:
        broker.depths = {"q": 0}
        handler = Handler()
        handler.gate.clear()
        async with consuming(handler, "q") as consumer:
            first = broker.deliver("q", a_request())
            await pause(1)
            late: list[int] = []
            broker.on_cancel = lambda: late.append(broker.deliver("q", a_request()))
            draining = asyncio.ensure_future(consumer.drain())
            await pause(1)
            # Before the slowest has ended: others need not wait for it.
            assert (len(handler.seen), broker.given_back, broker.acked) == (1, late, [])
            assert consumer.ready() == "not consuming"
            assert not draining.done()
            handler.gate.set()
            await draining
            assert (len(handler.seen), broker.acknowledged()) == (1, {first})

    run(main)


def test_what_waits_for_a_server_is_given_back_at_a_stop(run: Run) -> None:
    async def main(broker: MemoryBroker) -> None:
        broker.depths = {"q": 0}
        handler = Handler()
        handler.error = Unavailable("the database is away")
        async with consuming(handler, "q") as consumer:
            tag = broker.deliver("q", a_request())
            await pause(1)
            assert (broker.acked, broker.given_back) == ([], [])
            await consumer.drain()
        assert (broker.acked, broker.given_back) == ([], [tag])

    run(main)


def test_one_of_its_consumers_that_is_gone_is_enough_to_begin_anew(run: Run) -> None:
    async def main(broker: MemoryBroker) -> None:
        broker.depths = {"one": 0, "two": 0}
        handler = Handler()
        with capture_logs() as logged:
            async with consuming(handler, "one", "two") as consumer:
                await pause(30)
                assert len(broker.connections) == 1
                assert broker.consuming is not None
                # The broker cancels it when its queue is deleted.
                del broker.consuming.underlay.consumers["consumer of two"]
                await pause(10)
                assert len(broker.connections) == 2
                assert consumer.ready() is None
                broker.deliver("two", a_request())
                await pause(1)
                assert len(handler.seen) == 1
        [loss] = [line for line in logged if line["event"] == "link_lost"]
        assert loss["cause"] == "the broker cancelled a consumer of one, two"

    run(main)


def test_when_its_link_is_lost_what_is_at_work_is_ended_and_handled_again_over_the_next(run: Run) -> None:
    async def main(broker: MemoryBroker) -> None:
        broker.depths = {"q": 0}
        handler, event = Handler(), a_request()
        handler.gate.clear()
        async with consuming(handler, "q") as consumer:
            broker.deliver("q", event)
            await pause(1)
            broker.cut()
            await pause(0.01)
            assert handler.seen[0].link.lost.is_set()
            await pause(6)
            assert (len(broker.connections), consumer.held, consumer.ready()) == (2, 1, None)
            broker.deliver("q", event)
            await pause(1)
            assert not handler.seen[1].link.lost.is_set()
            handler.gate.set()
            await pause(1)
            assert (consumer.held, len(handler.seen)) == (0, 2)

    run(main)


def test_a_queue_that_is_missing_is_reported_until_it_is_there(run: Run) -> None:
    async def main(broker: MemoryBroker) -> None:
        broker.depths = {"one": 0}
        with capture_logs() as logged:
            async with consuming(Handler(), "one", "two") as consumer:
                assert consumer.ready() == "queue two is missing: run `wavecom topology apply`"
                assert broker.consuming is None
                broker.depths["two"] = 0
                await pause(6)
                assert consumer.ready() is None
                # And one that goes later.
                del broker.depths["one"]
                await pause(4)
                assert consumer.ready() == "queue one is missing: run `wavecom topology apply`"
        assert next(line["queues"] for line in logged if line["event"] == "queues_missing") == ["two"]

    run(main)


def test_a_broker_that_does_not_answer_makes_it_unready_and_is_left(run: Run) -> None:
    async def main(broker: MemoryBroker) -> None:
        broker.depths = {"q": 0}
        async with consuming(Handler(), "q") as consumer:
            broker.answers.clear()
            await pause(3 + 4)
            assert consumer.ready() is None
            await pause(2)
            assert consumer.ready() == "the broker has not answered for 6 s"
            await pause(7)
            assert consumer.ready() == "not consuming"
            broker.answers.set()
            await pause(6)
            assert consumer.ready() is None

    run(main)


def test_the_depths_of_its_queues_are_looked_at_every_few_seconds(run: Run) -> None:
    async def main(broker: MemoryBroker) -> None:
        broker.depths = {"q": 1}
        async with consuming(Handler(), "q"):
            broker.depths["q"] = 42
            await pause(3)
            assert REGISTRY.get_sample_value("wavecom_queue_depth", {"queue": "q"}) == 42

    run(main)


def test_without_a_broker_it_tries_again_until_there_is_one(run: Run) -> None:
    async def main(broker: MemoryBroker) -> None:
        broker.depths = {"q": 0}
        broker.up.clear()
        async with consuming(Handler(), "q") as consumer:
            await pause(30)
            assert consumer.ready() == "not consuming"
            broker.up.set()
            await pause(6)
            assert consumer.ready() is None

    run(main)


def test_a_consumer_that_is_closed_leaves_what_it_holds_to_the_broker(run: Run) -> None:
    async def main(broker: MemoryBroker) -> None:
        broker.depths = {"q": 0}
        handler = Handler()
        handler.gate.clear()
        async with consuming(handler, "q") as consumer:
            broker.deliver("q", a_request())
            await pause(1)
            await consumer.close()
            assert consumer.held == 0
        assert (broker.acked, [one.gone for one in broker.connections]) == ([], [True])

    run(main)


@pytest.mark.parametrize("begun", [True, False], ids=["connected", "not connected"])
def test_a_drain_of_a_consumer_that_holds_nothing_ends_at_once(run: Run, begun: bool) -> None:
    async def main(broker: MemoryBroker) -> None:
        broker.depths = {"q": 0}
        if not begun:
            broker.up.clear()
        async with consuming(Handler(), "q") as consumer:
            async with asyncio.timeout(1):
                await consumer.drain()
            assert consumer.ready() == "not consuming"
            broker.up.set()
            await pause(30)
            assert all(one.gone for one in broker.connections)

    run(main)
