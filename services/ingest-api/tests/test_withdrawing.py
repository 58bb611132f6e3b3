"""Withdrawals among twins: what is counted, reported, and done before the process ends."""

import asyncio

import pytest
from ingest_api.withdrawals import Withdrawals, within
from prometheus_client import REGISTRY
from structlog.testing import capture_logs
from wavecom_common.delivery.withdrawals import ERROR
from wavecom_common.events import types
from wavecom_common.kernel.clock import SYSTEM_CLOCK
from wavecom_common.kernel.errors import Unavailable
from wavecom_common.testing.builders import a_request
from wavecom_common.testing.virtual_time import run_virtually

pause = SYSTEM_CLOCK.sleep


class Sink:
    """Takes reports while its gate is open."""

    def __init__(self) -> None:
        self.reported = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.failure = None

    async def publish(self, events, *, timeout_s):
        assert timeout_s == 30
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        self.reported += events


class Store:
    """Withdraws everything that is not claimed."""

    def __init__(self) -> None:
        self.claimed = set()
        self.failures = []
        self.calls = 0

    async def withdraw(self, notification_ids):
        self.calls += 1
        if self.failures:
            raise self.failures.pop(0)
        return frozenset(notification_ids) - self.claimed


class Clock:
    def now_ms(self):
        return 77

    async def sleep(self, seconds):
        raise AssertionError("nothing here waits")


@pytest.fixture
def store():
    return Store()


@pytest.fixture
def sink():
    return Sink()


def pending():
    return REGISTRY.get_sample_value("wavecom_withdrawals_pending")


def dropped():
    return REGISTRY.get_sample_value("wavecom_withdrawals_total", {"result": "dropped"})


def withdrawal(withdrawals, *ends):
    """A step that withdraws the requests of these ends, or of one that nobody else asks about."""
    return lambda: withdrawals.withdraw(ends or withdrawals.ends([a_request()]))


def test_the_end_of_a_withdrawn_request_is_that_of_its_first_attempt_now_and_without_content(store, sink):
    request = a_request(channel="sms", priority="low")
    [end] = Withdrawals(store, sink, Clock()).ends([request])

    order = types.dispatched(request, attempt=1, now_ms=77)
    assert end == types.failed(order, error=ERROR, reason=types.REFUSED, now_ms=77)
    assert not end.HasField("content")


async def test_the_ends_of_those_that_are_withdrawn_are_reported_and_no_others(store, sink):
    withdrawals = Withdrawals(store, sink, Clock())
    ends = withdrawals.ends([a_request() for _ in range(3)])
    store.claimed = {ends[1].notification_id}

    assert await withdrawals.withdraw(ends) == {ends[0].notification_id, ends[2].notification_id}
    await asyncio.wait([asyncio.ensure_future(asyncio.Event().wait())], timeout=0.01)
    assert sink.reported == [ends[0], ends[2]]


async def test_nothing_is_reported_where_senders_have_all_of_them(store, sink):
    withdrawals = Withdrawals(store, sink, Clock())
    ends = withdrawals.ends([a_request()])
    store.claimed = {ends[0].notification_id}
    sink.failure = AssertionError("nothing is to be published")

    assert await withdrawals.withdraw(ends) == frozenset()
    await withdrawals.close()


def test_a_withdrawal_that_takes_longer_goes_on_and_is_repeated_until_it_is_done(store, sink):
    async def main():
        withdrawals = Withdrawals(store, sink, Clock())
        ends = withdrawals.ends([a_request(), a_request()])
        store.failures = [Unavailable("away")] * 3
        loop = asyncio.get_running_loop()
        step = withdrawal(withdrawals, *ends)
        assert await withdrawals.carry_out(step, count=2, by_s=loop.time() + 0.01) is None
        assert loop.time() == pytest.approx(0.01)
        assert (store.calls, pending()) == (1, 2)
        other = asyncio.ensure_future(withdrawals.carry_out(step, count=3, by_s=loop.time() + 60))
        await pause(0.001)
        assert pending() == 5
        assert await other == {end.notification_id for end in ends}
        await withdrawals.drain()
        assert pending() == 0

    run_virtually(main)


def test_what_is_more_than_may_wait_is_dropped_and_counted(store, sink):
    async def main():
        withdrawals = Withdrawals(store, sink, Clock(), max_pending=3)
        store.failures = [Unavailable("away")] * 100
        before = dropped()
        step = withdrawal(withdrawals)
        with capture_logs() as logged:
            assert await withdrawals.carry_out(step, count=3, by_s=0) is None
            assert await withdrawals.carry_out(step, count=1, by_s=0) is None
        assert dropped() - before == 1
        assert [
            (line["event"], line["notifications"], line["pending"])
            for line in logged
            if line["event"] != "not_withdrawn_yet"
        ] == [("withdrawal_dropped", 1, 3)]
        with capture_logs() as logged:
            await withdrawals.close()
        assert [(line["event"], line["notifications"]) for line in logged if line["event"] != "not_withdrawn_yet"] == [
            ("withdrawals_left", 3)
        ]
        assert pending() == 0

    run_virtually(main)


async def test_a_defect_is_counted_as_dropped_and_logged(store, sink):
    withdrawals = Withdrawals(store, sink, Clock())
    store.failures = [ZeroDivisionError("x")]
    before = dropped()
    with capture_logs() as logged:
        step = withdrawal(withdrawals)
        assert await withdrawals.carry_out(step, count=4, by_s=asyncio.get_running_loop().time() + 5) is None
    assert (dropped() - before, pending()) == (4, 0)
    assert [(line["event"], line["notifications"]) for line in logged] == [("withdrawal_failed", 4)]


def test_reports_are_left_to_others_when_the_process_drains_and_are_bounded(store, sink, monkeypatch):
    async def main():
        monkeypatch.setattr("ingest_api.withdrawals._MAX_REPORTS", 2)
        withdrawals = Withdrawals(store, sink, Clock())
        sink.gate.clear()
        for _ in range(3):
            await withdrawals.withdraw(withdrawals.ends([a_request()]))
        await pause(1)
        sink.gate.set()
        await pause(1)
        assert len(sink.reported) == 2
        # There is room again; but nothing waits for a report once the process drains.
        sink.gate.clear()
        await withdrawals.withdraw(withdrawals.ends([a_request()]))
        await pause(1)
        await withdrawals.drain()
        await pause(1)
        sink.gate.set()
        await pause(1)
        assert len(sink.reported) == 2
        await withdrawals.close()

    run_virtually(main)


def test_a_report_that_fails_fails_nothing_else(store, sink):
    async def main():
        withdrawals = Withdrawals(store, sink, Clock())
        sink.failure = Unavailable("the broker is away")
        ends = withdrawals.ends([a_request()])
        assert await withdrawals.withdraw(ends) == {ends[0].notification_id}
        await pause(1)
        sink.failure = None
        assert await withdrawals.withdraw(ends) == {ends[0].notification_id}
        await pause(1)
        assert sink.reported == ends

    run_virtually(main)


def test_a_step_has_until_a_time_of_the_loop_s_clock():
    async def main():
        async def takes(seconds):
            await pause(seconds)
            return "done"

        await pause(10)
        assert await within(14, takes(3)) == "done"
        with pytest.raises(Unavailable, match=r"^not done in time$"):
            await within(16, takes(4))
        assert asyncio.get_running_loop().time() == 16

    run_virtually(main)
