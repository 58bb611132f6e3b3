"""Several requests of one `Idempotency-Key`, to copies of the API that die, on a database and a broker that fail: the
real protocol of keys and withdrawals, until one more request is answered and everything the broker has was delivered.
"""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import orjson
from ingest_api.accept import Accepted, Acceptor
from ingest_api.backlog import Backlog, Thresholds
from ingest_api.errors import Refusal
from ingest_api.idempotency.keys import IdempotencyKeys, KeyRecord, StoredAnswer
from ingest_api.keyed import IdempotentRequests, Wanted
from ingest_api.requests import NotificationRequest
from ingest_api.validation import parse_notification
from ingest_api.withdrawals import Withdrawals
from wavecom_common.delivery.ledger import Ledger
from wavecom_common.delivery.withdrawals import Withdrawals as WithdrawalStore
from wavecom_common.events import types
from wavecom_common.events.outcomes import Withdrawn
from wavecom_common.kernel.errors import Unavailable
from wavecom_common.testing.virtual_time import VirtualClock, run_virtually
from wavecom_proto.v1.events_pb2 import Event

from tests.simulation.chaos import Chaos, Process
from tests.simulation.memory_database import MemoryDatabase

COPIES = 2
CLIENTS = 3
POSTS = 3
TIMEOUT_S = 0.5
BODY = {"recipient": "+15551234567", "message": "Your code is 1234", "channel": "sms"}


@dataclass
class KeyOutcome:
    """How it ended: what is wrong (nothing, if all is well), and what there was to see."""

    seed: int
    wrong: list[str] = field(default_factory=list)
    answers: list[tuple[int, bytes]] = field(default_factory=list)
    withdrawn: int = 0
    deaths: int = 0


class Sink:
    """The broker as a copy sees it: confirms, or not, what it takes, or not, at once, in part, or later."""

    def __init__(self, world: "KeyWorld", process: Process) -> None:
        self._world = world
        self._process = process

    async def publish(self, events: Sequence[Event], *, timeout_s: float) -> None:
        if events[0].type != types.REQUESTED:
            return
        await self._process.step(may_fail=False)
        dice = self._world.chaos.random.random()
        if self._world.calm or dice < 0.4:
            self._world.take(events)
            await self._process.answer(lost=False)
            return
        if dice < 0.5:
            raise Unavailable("not connected", handed_over=False)
        if dice < 0.6:
            asyncio.get_running_loop().call_later(self._world.chaos.random.uniform(0, 3), self._world.take, events)
        elif dice < 0.9:
            self._world.take(self._world.chaos.random.sample(events, self._world.chaos.random.randint(0, len(events))))
        raise Unavailable("no confirm")


class Copy:
    """One life of an API process."""

    def __init__(self, world: "KeyWorld") -> None:
        self.process = Process("ingest-api", world.chaos)
        database = cast("Any", world.database.seen_by(self.process))
        clock = self.process.clock
        sink = Sink(world, self.process)
        withdrawals = Withdrawals(WithdrawalStore(database, clock=clock), cast("Any", sink), clock)
        self._acceptor = Acceptor(
            cast("Any", sink),
            cast("Any", None),
            withdrawals,
            Backlog(Thresholds(1, 2, 3), lambda: (0, 0)),
            clock,
            tenant="default",
            default_max_attempts=3,
            timeout_s=TIMEOUT_S,
            refer_above_bytes=1_000,
        )
        keys = IdempotencyKeys(database, keep_ms=3_600_000, timeout_s=5)
        self._keyed = IdempotentRequests(self._acceptor, withdrawals, keys, clock)

    async def post(self, requests: Sequence[NotificationRequest]) -> tuple[int, bytes]:
        """The answer's status and body, which holds the ids of what is accepted."""

        def events(record: KeyRecord) -> list[Event]:
            return self._acceptor.events(requests, record.notification_ids, record.accepted_at_ms)

        try:
            answered = await self._keyed.answer("key", "body", Wanted(len(requests), events, _answer))
        except Refusal as refusal:
            return refusal.status_code, b"[]"
        return answered.answer.status_code, answered.answer.body


class KeyWorld:
    """One simulation."""

    def __init__(self, seed: int) -> None:
        self.chaos = Chaos(seed)
        # Half of the worlds have a database that never fails.
        self.chaos.failure_rate = self.chaos.random.choice([0.0, 0.15])
        self.database = MemoryDatabase(VirtualClock())
        self.outcome = KeyOutcome(seed)
        self.calm = False
        # Notifications that the broker has, and those of them that were called for.
        self.with_broker: set[str] = set()
        self.called: set[str] = set()

    def take(self, events: Sequence[Event]) -> None:
        """The broker has these from now on."""
        self.with_broker.update(event.notification_id for event in events)

    async def run(self) -> KeyOutcome:
        random.seed(self.outcome.seed)
        requests = [parse_notification(BODY)] * self.chaos.random.choice([1, 3])
        copies = [Copy(self) for _ in range(COPIES)]
        sending = asyncio.create_task(self.send())
        dying = asyncio.create_task(self.die(copies)) if self.chaos.random.random() < 0.5 else None
        await asyncio.gather(*[self.ask(copies, requests) for _ in range(CLIENTS)])
        never_failed = dying is None and self.chaos.failure_rate == 0
        if dying is not None:
            dying.cancel()
        # What is under way, and what is withdrawn in the background, ends.
        self.calm, self.chaos.failure_rate = True, 0.0
        await VirtualClock().sleep(30)
        self.judge_before_the_last(never_failed)
        last = await Copy(self).post(requests)
        while last[0] == 503:
            last = await Copy(self).post(requests)
        await VirtualClock().sleep(30)
        sending.cancel()
        self.judge(last)
        return self.outcome

    async def ask(self, copies: list[Copy], requests: Sequence[NotificationRequest]) -> None:
        """A client that repeats its request whatever the answer, and does not wait for ever for one."""
        for _ in range(POSTS):
            await VirtualClock().sleep(self.chaos.random.expovariate(1 / 0.2))
            post = asyncio.create_task(self.chaos.random.choice(copies).post(requests))
            done, _ = await asyncio.wait([post], timeout=10)
            if done:
                self.outcome.answers.append(post.result())

    async def die(self, copies: list[Copy]) -> None:
        while True:
            await VirtualClock().sleep(self.chaos.random.expovariate(1 / 0.3))
            place = self.chaos.random.randrange(COPIES)
            copies[place].process.alive = False
            copies[place] = Copy(self)
            self.outcome.deaths += 1

    async def send(self) -> None:
        """A sender: it calls for what it can claim, now or later."""
        process = Process("sms-sender", self.chaos)
        ledger = Ledger(cast("Any", self.database.seen_by(process)), owner="sender")
        while True:
            await VirtualClock().sleep(self.chaos.random.expovariate(1 / 0.1))
            waiting = sorted(self.with_broker - self.called)
            if not waiting:
                continue
            one = self.chaos.random.choice(waiting)
            try:
                found = await ledger.claim(f"{one}:1")
            except Unavailable:
                continue
            if found is None or not isinstance(found.outcome, Withdrawn):
                self.called.add(one)
            else:
                self.with_broker.discard(one)
                self.outcome.withdrawn += 1

    def judge_before_the_last(self, never_failed: bool) -> None:
        """Without a crash or an outage of the database what was refused each time was not delivered."""
        told = {one for _, body in self.outcome.answers for one in orjson.loads(body)}
        if never_failed and (self.called | self.with_broker) - told:
            self.outcome.wrong.append("something was delivered that nobody was told is accepted")

    def judge(self, last: tuple[int, bytes]) -> None:
        """One answer for the key, whoever asked and when, and it is what was delivered."""
        if {answer for answer in self.outcome.answers if answer[0] != 503} - {last}:
            self.outcome.wrong.append("the key has two answers")
        if self.called != set(orjson.loads(last[1])):
            self.outcome.wrong.append("what was delivered is not what the answer says is accepted")


def _answer(accepted: Sequence[Accepted]) -> StoredAnswer:
    ids = [one.notification_id for one in accepted if isinstance(one, Event)]
    return StoredAnswer(201 if len(ids) == len(accepted) else 207, orjson.dumps(ids))


def simulate_key(seed: int) -> KeyOutcome:
    """Run the world of that seed. The same seed gives the same outcome."""

    async def main() -> KeyOutcome:
        return await KeyWorld(seed).run()

    return run_virtually(main)
