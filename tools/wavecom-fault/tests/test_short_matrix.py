"""The short form of the fault matrix: a few strikes on real processes, the same judge."""

from pathlib import Path

import pytest
from wavecom_fault.matrix import Fault, Strike
from wavecom_fault.run import run, run_overlapping

STRIKES = [
    Strike("sms-sender", Fault.KILL, 1.0, 0),
    Strike("status-projector", Fault.KILL, 0.5, 0),
    Strike("rabbitmq", Fault.KILL, 0.5, 0),
    Strike("mongodb", Fault.KILL, 0.5, 0),
    Strike("ingest-api", Fault.TERM, 0.5, 0),
    Strike("email-sender", Fault.CUT, 0.5, 0),
]

# The second of two strikes on one victim finds it standing still, or dead.
OVERLAPPING = [
    Strike("email-sender", Fault.STOP, 1.0, 4.0),
    Strike("email-sender", Fault.KILL, 0.5, 0),
    Strike("mongodb", Fault.KILL, 0.5, 0),
    Strike("mongodb", Fault.TERM, 0, 0),
    Strike("ingest-api", Fault.CUT, 0.5, 0),
    Strike("dispatcher", Fault.TERM, 0.5, 0),
]


@pytest.mark.timeout(600)
async def test_nothing_is_lost_nothing_is_stuck_and_nothing_is_sent_twice_without_need(tmp_path: Path) -> None:
    result = await run(0, STRIKES, tmp_path, print)
    assert result.verdict.good, result.verdict
    assert result.verdict.accepted > 100
    assert [row.victim for row in result.rows if row.recovered_s is None] == []


@pytest.mark.timeout(600)
async def test_faults_on_top_of_each_other_break_no_promise_and_nobody_is_struck_while_down(tmp_path: Path) -> None:
    result = await run_overlapping(0, OVERLAPPING, tmp_path, print)
    assert [(row.victim, row.fault) for row in result.rows] == [
        ("email-sender", "SIGSTOP"),
        ("mongodb", "SIGKILL"),
        ("ingest-api", "cut"),
        ("dispatcher", "SIGTERM"),
    ]
    assert result.good, result
