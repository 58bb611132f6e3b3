"""A whole system in one loop: the real dispatcher, senders, projectors and sweepers on a simulated broker, database
and provider, until every notification has its end or the time is up.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast
from unittest.mock import patch

from dispatcher.handler import Dispatcher
from status_projector.model import facts_document, projection
from status_projector.model.live_model import LiveModel
from status_projector.model.read_model import ReadModel
from status_projector.projector import Projector, give_up
from status_projector.recovery import sweeper
from status_projector.recovery.recover import Recovery
from status_projector.recovery.resender import Resender
from status_projector.recovery.sweeper import Limits, Sweeper
from status_projector.store import event_document
from status_projector.store.event_store import EventStore
from status_projector.store.sweeps import Sweeps
from wavecom_common.delivery.ledger import Ledger
from wavecom_common.delivery.loop import DeliveryLoop
from wavecom_common.delivery.port import Attempt
from wavecom_common.delivery.withdrawals import Withdrawals
from wavecom_common.events import routing, types
from wavecom_common.events.outcomes import (
    Delivered,
    DeliveryOutcome,
    PermanentFailure,
    TransientFailure,
    UnknownOutcome,
)
from wavecom_common.events.payloads import payload_id, payload_of, refer
from wavecom_common.kernel.errors import Unavailable
from wavecom_common.kernel.tasks import VITAL
from wavecom_common.messaging import handling
from wavecom_common.messaging.handling import Handling
from wavecom_common.messaging.incoming import GiveUp, Handler, dead_letter
from wavecom_common.messaging.redelivery import Limits as RedeliveryLimits
from wavecom_common.messaging.settlement import Settlement
from wavecom_common.storage import names
from wavecom_common.storage.held_work import HeldWork
from wavecom_common.storage.payloads import Payloads
from wavecom_common.testing.builders import a_request
from wavecom_common.testing.virtual_time import VirtualClock, run_virtually
from wavecom_proto.v1.events_pb2 import Event

from tests.simulation.chaos import Chaos, Loss, Process
from tests.simulation.memory_broker import MemoryBroker, MemoryPublisher, Reader
from tests.simulation.memory_database import MemoryDatabase

MESSAGE = "Your order has been shipped!"
DELAYS_MS = [1000, 5000, 10_000]
NOTIFICATIONS = 4
# Faults happen until then; afterwards everything has this long to settle
FAULTS_S = 30.0
# (the sweeper goes by what processes say of the time, and their clocks are minutes off).
SETTLE_S = 1500.0


@dataclass
class Outcome:
    """How a simulation ended: what is wrong (nothing, if all is well), and what there was to see."""

    seed: int
    wrong: list[str] = field(default_factory=list)
    deaths: int = 0
    calls: int = 0
    repeated_calls: int = 0
    # Notifications sent again by the sweeper or by the command that recovers all of them.
    sent_again: int = 0
    refused: int = 0
    virtual_s: float = 0.0


@dataclass
class Call:
    """One provider call: whose, with which dedup key, and whether its process learnt the outcome."""

    process: Process
    dedup_key: str
    answered: bool = False


class SimulatedProvider:
    """A provider that takes its time, fails, refuses or never answers; it remembers who called."""

    name = "simulated"
    # It takes several in one call, and then their answers come together or not at all.
    max_batch = 3

    def __init__(self, process: Process, chaos: Chaos, calls: dict[str, list[Call]], wrong: list[str]) -> None:
        self._process = process
        self._chaos = chaos
        self._calls = calls
        self._wrong = wrong

    async def deliver_batch(self, attempts: Sequence[Attempt]) -> Sequence[DeliveryOutcome]:
        return await asyncio.gather(*[self.deliver(attempt) for attempt in attempts])

    async def deliver(self, attempt: Attempt) -> DeliveryOutcome:
        await self._process.step(may_fail=False)
        if attempt.message != MESSAGE:
            self._wrong.append(f"{attempt.notification_id} was to be delivered with another message")
        key = f"{attempt.notification_id}:{attempt.number}"
        earlier = self._calls.setdefault(key, [])
        for call in earlier:
            if call.process.alive:
                self._wrong.append(f"{key} was called again although the first caller lives")
        call = Call(self._process, attempt.dedup_key)
        earlier.append(call)
        dice = self._chaos.random.random()
        if dice < 0.05:
            await self._chaos.for_ever()
        await self._process.answer(lost=False)
        call.answered = True
        if dice < 0.35:
            return TransientFailure("busy")
        return PermanentFailure("refused") if dice < 0.4 else Delivered("ok")

    async def close(self) -> None:
        pass


class World:
    """One simulation."""

    def __init__(self, seed: int) -> None:
        self.chaos = Chaos(seed)
        self.clock = VirtualClock()
        self.broker = MemoryBroker(self.chaos, DELAYS_MS)
        self.database = MemoryDatabase(self.clock)
        self.calls: dict[str, list[Call]] = {}
        self.outcome = Outcome(seed)
        self.accepted: list[str] = []
        self.refused: list[str] = []
        # Accepted, and lost with the broker's disk before the projector had seen them.
        self.unseen: set[str] = set()

    async def run(self) -> Outcome:
        random.seed(self.outcome.seed)
        asyncio.get_running_loop().set_exception_handler(self.note_death)
        starts: list[Callable[[], Reader]] = [self.dispatcher, self.sender, self.sender, self.projector, self.projector]
        readers = [start() for start in starts]
        client = asyncio.create_task(self.ask())
        loop = asyncio.get_running_loop()
        disaster_s = self.chaos.random.uniform(5, FAULTS_S) if self.chaos.loss is Loss.ALL else FAULTS_S
        await self.trouble(starts, readers, until_s=disaster_s)
        if self.chaos.loss is Loss.ALL:
            self.lose_everything()
            await self.trouble(starts, readers, until_s=FAULTS_S)
        self.chaos.failure_rate = self.chaos.loss_rate = 0.0
        await client
        await self.settle()
        self.judge()
        self.outcome.refused = len(self.refused)
        swept = self.database.collections.get(names.SWEEPS, {}).values()
        self.outcome.sent_again += sum(one["times"] for one in swept)
        self.outcome.virtual_s = loop.time()
        return self.outcome

    async def trouble(self, starts: list[Callable[[], Reader]], readers: list[Reader], *, until_s: float) -> None:
        """Processes die and links are cut, until then."""
        while asyncio.get_running_loop().time() < until_s:
            await self.clock.sleep(self.chaos.random.expovariate(1 / 1.0))
            place = self.chaos.random.randrange(len(readers))
            if self.chaos.random.random() < 0.5:
                self.broker.disconnect(readers[place])
            else:
                self.kill(readers[place])
                await self.clock.sleep(self.chaos.random.uniform(0.0, 2.0))
                readers[place] = starts[place]()
            self.broker.deliver()

    def note_death(self, _: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
        """What no process may do without has ended by itself."""
        if VITAL in context:
            self.outcome.wrong.append(f"{context[VITAL]} died: {context.get('exception')!r}")

    def lose_everything(self) -> None:
        """The broker comes back empty. Somebody may run the command that recovers everything; the sweeper runs, too."""
        stored = self.database.collections.get(names.EVENTS, {})
        self.unseen = {
            event.notification_id
            for event in self.broker.lose_everything()
            if event.type == types.REQUESTED and event.event_id not in stored
        }
        if self.chaos.random.random() < 0.5:
            asyncio.get_running_loop().create_task(self.recover())

    async def recover(self) -> None:
        """The operator's command, again until it went through."""
        process = Process("wavecom", self.chaos)
        recovery = Recovery(
            cast("Any", self.database.seen_by(process)),
            cast("Any", MemoryPublisher(self.broker, process)),
            delays_ms=DELAYS_MS,
            max_events=100,
            per_second=100,
            clock=process.clock,
        )
        while True:
            try:
                self.outcome.sent_again += (await recovery.run()).sent.total()
            except Unavailable:
                continue
            return

    def kill(self, reader: Reader) -> None:
        """SIGKILL: from now on nothing it does has an effect."""
        reader.process.alive = False
        self.outcome.deaths += 1
        self.broker.disconnect(reader)
        self.broker.readers.remove(reader)

    async def ask(self) -> None:
        """A client whose requests are accepted once they are confirmed, or refused; the API repeats for a while."""
        process = Process("ingest-api", self.chaos)
        publisher = MemoryPublisher(self.broker, process)
        payloads = Payloads(cast("Any", self.database.seen_by(process)), clock=self.clock)
        withdrawals = Withdrawals(cast("Any", self.database.seen_by(process)), clock=process.clock)
        for number in range(NOTIFICATIONS):
            request = a_request(
                channel="sms",
                notification_id=f"{number:024x}",
                on_unknown=self.chaos.random.choice(["resend", "fail"]),
                now_ms=self.clock.now_ms(),
                message=MESSAGE,
            )
            payload = payload_of(request.content)
            if number % 2:
                refer(request.content, payload_id("default", payload))
            accepted = False
            while not accepted:
                try:
                    if request.content.payload_id:
                        await payloads.store({request.content.payload_id: payload}, timeout_s=5)
                    await publisher.publish([request], timeout_s=5)
                    accepted = True
                except Unavailable:
                    # What only the event store has heard of is the sweeper's to end, where there is one.
                    if self.chaos.loss is Loss.NOTHING or self.chaos.random.random() < 0.5:
                        continue
                    if await self.withdrawn(request, withdrawals):
                        break
                    accepted = True
            (self.accepted if accepted else self.refused).append(request.notification_id)
            await self.clock.sleep(self.chaos.random.expovariate(1 / 2.0))

    async def withdrawn(self, request: Event, withdrawals: Withdrawals) -> bool:
        """Its time is up: the API refuses it, unless a sender has it already."""
        while True:
            try:
                return bool(await withdrawals.withdraw([request.notification_id]))
            except Unavailable:
                continue

    async def settle(self) -> None:
        """Until nothing waits anywhere, or the time is up."""
        loop = asyncio.get_running_loop()
        while loop.time() < FAULTS_S + SETTLE_S:
            self.broker.deliver()
            held = [stored for reader in self.broker.readers for stored in reader.holding]
            if not held and not any(self.broker.queues.values()) and not self.stuck():
                return
            await self.clock.sleep(0.5)
        self.outcome.wrong.append("something is still under way")

    def stuck(self) -> bool:
        """Whether the sweeper has something to do yet."""
        if self.chaos.loss is Loss.NOTHING:
            return False
        stored = self.database.collections.get(names.EVENTS, {}).values()
        ended = {one["nid"] for one in stored if one["type"] in types.TERMINAL_TYPES}
        refused = {one["nid"] for one in stored if one["type"] == types.REQUESTED} & {*self.refused}
        return bool({*self.accepted, *refused} - self.unseen - ended)

    def judge(self) -> None:
        """The promises, over everything that is left."""
        events = [
            event_document.from_document(document)
            for document in self.database.collections.get(names.EVENTS, {}).values()
        ]
        self._judge_ends(events)
        self._judge_calls(events)
        self._judge_model(events)
        dead = {name: len(held) for name, held in self.broker.queues.items() if name.endswith(".dead") and held}
        if dead:
            self.outcome.wrong.append(f"dead letters: {dead}")

    def _judge_ends(self, events: list[Event]) -> None:
        ends = Counter(event.notification_id for event in events if event.type in types.TERMINAL_TYPES)
        for notification_id in self.accepted:
            if ends[notification_id] != 1 and not (ends[notification_id] == 0 and notification_id in self.unseen):
                self.outcome.wrong.append(f"{notification_id} has {ends[notification_id]} ends")
        requested = {event.notification_id for event in events if event.type == types.REQUESTED}
        for notification_id in self.refused:
            if ends[notification_id] > 1 or (notification_id in requested and not ends[notification_id]):
                self.outcome.wrong.append(f"{notification_id} was refused and has {ends[notification_id]} ends")

    def _judge_calls(self, events: list[Event]) -> None:
        told = {f"{e.notification_id}:{e.attempt}" for e in events if e.type == types.OUTCOME_UNKNOWN}
        ledger = self.database.collections.get(names.DELIVERIES, {})
        for key, calls in self.calls.items():
            self.outcome.calls += len(calls)
            if key.split(":")[0] in self.refused:
                self.outcome.wrong.append(f"{key} was called although the request was refused")
            self.outcome.repeated_calls += len(calls) - 1
            # Where the broker lost the event that tells it, the ledger still does.
            unknown = key in told or (self.chaos.loss is not Loss.NOTHING and ledger[key].get("takenOver", False))
            if len(calls) > 1 and not unknown:
                self.outcome.wrong.append(f"{key} was called {len(calls)} times and nobody says why")
            self._judge_attempt(key, {call.dedup_key for call in calls}, ledger)

    def _judge_attempt(self, key: str, dedup_keys: set[str], ledger: Mapping[str, Any]) -> None:
        """One attempt has one key, comes after one that failed, and has its key if nobody knows whether it failed."""
        notification_id, attempt = key.split(":")
        if attempt != "1":
            before = f"{notification_id}:{int(attempt) - 1}"
            settled = ledger.get(f"{before}:settled")
            if settled is None or settled["kind"] == Delivered.__name__:
                self.outcome.wrong.append(f"{key} was called although the attempt before had not failed")
            elif settled["kind"] == UnknownOutcome.__name__:
                dedup_keys = dedup_keys | {call.dedup_key for call in self.calls[before]}
        if len(dedup_keys) > 1:
            self.outcome.wrong.append(f"{key} was called with {len(dedup_keys)} dedup keys")

    def _judge_model(self, events: list[Event]) -> None:
        folded = projection.fold(events)
        stored = {
            str(key): facts_document.from_document(document)
            for key, document in self.database.collections.get(names.NOTIFICATIONS, {}).items()
        }
        if folded != stored:
            self.outcome.wrong.append("the read model is not the fold of the event store")

    def dispatcher(self) -> Reader:
        process = Process("dispatcher", self.chaos)
        publisher = MemoryPublisher(self.broker, process)
        return self.read(process, [routing.DISPATCHER_QUEUE], Dispatcher(cast("Any", publisher), process.clock).handle)

    def sender(self) -> Reader:
        process = Process("sms-sender", self.chaos)
        ledger = Ledger(
            cast("Any", self.database.seen_by(process)),
            owner=f"{process.name}-{self.chaos.random.getrandbits(64):x}",
        )
        asyncio.get_running_loop().create_task(ledger.start())
        loop = DeliveryLoop(
            SimulatedProvider(process, self.chaos, self.calls, self.outcome.wrong),
            ledger,
            Payloads(cast("Any", self.database.seen_by(process)), clock=self.clock),
            cast("Any", MemoryPublisher(self.broker, process)),
            max_in_flight=10,
            provider_timeout_s=30,
            retry_delays_ms=DELAYS_MS[1:],
            look_again_ms=DELAYS_MS[0],
            clock=process.clock,
        )
        queues = [routing.sender_queue("sms", priority) for priority in ("high", "medium", "low")]
        return self.read(process, queues, loop.handle, loop.give_up)

    def projector(self) -> Reader:
        process = Process("status-projector", self.chaos)
        database = cast("Any", self.database.seen_by(process))
        store = EventStore(database, process.clock)
        projector = Projector(store, ReadModel(database), max_events=100, linger_s=0.005, clock=process.clock)
        if self.chaos.loss is not Loss.NOTHING:
            for requests_only in (False, True):
                sweeper = self.sweeper(process, database, store, requests_only=requests_only)
                asyncio.get_running_loop().create_task(sweeper.start())
        return self.read(process, [routing.PROJECTOR_QUEUE], projector, give_up)

    def sweeper(self, process: Process, database: Any, store: EventStore, *, requests_only: bool) -> Sweeper:
        """Impatient or patient: if it comes too early, that does no harm."""
        publisher = cast("Any", MemoryPublisher(self.broker, process))
        after_s = self.chaos.random.choice([1.0, 10.0] if requests_only else [2.0, 15.0, 60.0])
        most_waiting = 0 if requests_only else 100
        return Sweeper(
            cast("Any", self.broker),
            store,
            LiveModel(database),
            Sweeps(database),
            HeldWork(database),
            Resender(publisher, delays_ms=DELAYS_MS, max_events=100),
            Limits(
                after_s=after_s,
                interval_s=after_s / 3,
                most=500,
                most_waiting=most_waiting,
                requests_only=requests_only,
            ),
            clock=process.clock,
        )

    def read(self, process: Process, queues: list[str], handler: Handler, give_up: GiveUp = dead_letter) -> Reader:
        settlement = Settlement(cast("Any", MemoryPublisher(self.broker, process)), process.clock)
        handling = Handling(handler, settlement, retry_delay_ms=DELAYS_MS[0], draining=asyncio.Event(), give_up=give_up)
        reader = Reader(process, queues, handling)
        self.broker.readers.append(reader)
        self.broker.deliver()
        return reader


async def depths(broker: MemoryBroker, queues: Sequence[str]) -> dict[str, int | None]:
    """In place of `status_projector.queues.depths`, which asks a broker by its address."""
    return {queue: len(broker.queues[queue]) for queue in queues}


def simulate(seed: int) -> Outcome:
    """Run the world of that seed. The same seed gives the same outcome."""

    async def main() -> Outcome:
        return await World(seed).run()

    # Suspicious early: links are cut and processes killed so often here that a few returns are nothing.
    with patch.object(sweeper, "depths", depths), patch.object(handling, "LIMITS", RedeliveryLimits(redeliveries=1)):
        return run_virtually(main)
