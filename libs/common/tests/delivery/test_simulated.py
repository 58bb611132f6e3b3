from pathlib import Path

import orjson
from wavecom_common.delivery.port import Attempt
from wavecom_common.delivery.simulated import SimulatedProvider, Simulation
from wavecom_common.events.outcomes import Delivered, TransientFailure


class StoppedClock:
    def __init__(self) -> None:
        self.waits_s: list[float] = []

    def now_ms(self) -> int:
        return 5

    async def sleep(self, seconds: float) -> None:
        self.waits_s.append(seconds)


def an_attempt(number: int) -> Attempt:
    return Attempt("n", number, f"n:{number}", "+15551234567", "hello", None)


async def test_it_succeeds_as_often_as_it_is_told_to_and_takes_its_time() -> None:
    clock = StoppedClock()
    provider = SimulatedProvider(Simulation(0.9, 200, 500, seed=1), clock)
    outcomes = [await provider.deliver(an_attempt(number)) for number in range(1000)]
    assert 870 <= sum(isinstance(outcome, Delivered) for outcome in outcomes) <= 930
    assert all(isinstance(outcome, Delivered | TransientFailure) for outcome in outcomes)
    assert 0.2 <= min(clock.waits_s) <= max(clock.waits_s) <= 0.5


async def test_the_same_seed_does_the_same() -> None:
    async def run() -> list[str]:
        provider = SimulatedProvider(Simulation(0.5, 0, 100, seed=42), StoppedClock())
        return [type(await provider.deliver(an_attempt(number))).__name__ for number in range(50)]

    assert await run() == await run()


async def test_it_can_be_perfect_and_instant() -> None:
    clock = StoppedClock()
    provider = SimulatedProvider(Simulation(1.0, 0, 0), clock)
    assert {type(await provider.deliver(an_attempt(number))) for number in range(100)} == {Delivered}
    assert clock.waits_s == []


async def test_every_call_is_on_record_with_its_key(tmp_path: Path) -> None:
    record = tmp_path / "calls"
    for _ in range(2):
        provider = SimulatedProvider(Simulation(1.0, 0, 0, calls_file=str(record)), StoppedClock())
        await provider.deliver(an_attempt(1))
        await provider.close()
    lines = [orjson.loads(line) for line in record.read_text().splitlines()]
    assert lines == [{"key": "n:1", "notificationId": "n", "attempt": 1, "messageBytes": 5, "atMs": 5}] * 2


async def test_attempts_of_one_call_wait_together_and_have_a_chance_each() -> None:
    clock = StoppedClock()
    provider = SimulatedProvider(Simulation(0.5, 100, 100, seed=3, max_batch=50), clock)
    outcomes = await provider.deliver_batch([an_attempt(number) for number in range(50)])
    assert clock.waits_s == [0.1]
    assert {type(outcome) for outcome in outcomes} == {Delivered, TransientFailure}
    assert [one.provider_message_id for one in outcomes if isinstance(one, Delivered)] == [
        f"simulated-n:{number}" for number, one in enumerate(outcomes) if isinstance(one, Delivered)
    ]
