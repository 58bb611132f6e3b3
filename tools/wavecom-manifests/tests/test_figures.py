"""The documents' tables are of the figures as they are, and the arithmetic behind them is plausible."""

from dataclasses import replace
from pathlib import Path

import pytest
from wavecom_common.events.channels import CHANNELS
from wavecom_manifests import capacity, figures
from wavecom_manifests.capacity import Capacity
from wavecom_manifests.processes import PROCESSES
from wavecom_manifests.sizing import SERVERS, events_a_message, size


@pytest.fixture(scope="module")
def measured() -> Capacity:
    return capacity.read()


@pytest.mark.parametrize("document", figures.DOCUMENTS, ids=lambda path: path.stem)
def test_a_documents_tables_are_of_the_figures_as_they_are(document: Path) -> None:
    assert figures.written(document) == document.read_text(), "run `make figures` and commit"


def test_every_process_and_every_consumer_was_measured(measured: Capacity) -> None:
    for figures_of_mode in measured.bench.values():
        assert set(figures_of_mode) == {*PROCESSES, *SERVERS}
    assert set(measured.copies) == {name for name, process in PROCESSES.items() if process.reads}


def test_pods_follow_the_cpu_of_a_notification(measured: Capacity) -> None:
    single = {**measured.bench["single"], "dispatcher": 1.0}
    dear = replace(measured, bench={"single": single}, busy=0.5, largest_system_per_minute=60_000_000)
    # 10,000 a second, at a millisecond each: ten processors, each half busy.
    assert size(dear, "single", 600_000).pods["dispatcher"] == 20
    assert size(dear, "single", 60).pods["dispatcher"] == 2


def test_a_slow_provider_takes_more_senders_whatever_their_cpu(measured: Capacity) -> None:
    slow = replace(measured, provider_s={**measured.provider_s, "sms-sender": 5.0}, busy=1.0)
    # 512 a second, five seconds each: 2,560 calls at once, 256 in a copy.
    assert size(slow, "single", 512 * len(CHANNELS) * 60).pods["sms-sender"] == 10


def test_beyond_the_largest_system_there_are_several(measured: Capacity) -> None:
    one, ten = (size(measured, "single", times * measured.largest_system_per_minute) for times in (1, 10))
    assert ten.systems == 10
    assert ten.cores == one.cores
    assert ten.pods == {name: 10 * number for name, number in one.pods.items()}


def test_a_message_gathers_no_more_than_it_may_hold() -> None:
    assert events_a_message(1, "single") == 1
    assert events_a_message(10_000_000, "single") == 100
    assert 1 < events_a_message(1, "batch") <= 100
