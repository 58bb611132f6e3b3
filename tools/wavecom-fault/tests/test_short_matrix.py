"""The short form of the fault matrix: a few strikes on real processes, the same judge."""

from pathlib import Path

import pytest
from wavecom_fault.matrix import Fault, Strike
from wavecom_fault.run import run

STRIKES = [
    Strike("sms-sender", Fault.KILL, 1.0, 0),
    Strike("status-projector", Fault.KILL, 0.5, 0),
    Strike("rabbitmq", Fault.KILL, 0.5, 0),
    Strike("mongodb", Fault.KILL, 0.5, 0),
    Strike("ingest-api", Fault.TERM, 0.5, 0),
    Strike("email-sender", Fault.CUT, 0.5, 0),
]


@pytest.mark.timeout(600)
async def test_nothing_is_lost_nothing_is_stuck_and_nothing_is_sent_twice_without_need(tmp_path: Path) -> None:
    result = await run(0, STRIKES, tmp_path, print)
    assert result.verdict.good, result.verdict
    assert result.verdict.accepted > 100
    assert [row.victim for row in result.rows if row.recovered_s is None] == []
