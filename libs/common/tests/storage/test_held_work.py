"""What processes report to hold, on a real database."""

import pytest
from wavecom_common.storage.client import Database
from wavecom_common.storage.held_work import HeldWork

pytestmark = pytest.mark.connected


async def test_the_oldest_of_every_queue_over_all_processes_is_known(database: Database) -> None:
    work = HeldWork(database)
    await work.report("a", {"email-sender.high": 2_000, "email-sender.low": 3_000})
    await work.report("b", {"email-sender.high": 1_000})
    await work.report("b", {})

    assert await work.oldest() == {"email-sender.high": 1_000, "email-sender.low": 3_000}

    await work.report("b", {"email-sender.high": 4_000})
    assert await work.oldest() == {"email-sender.high": 2_000, "email-sender.low": 3_000}


async def test_a_report_that_is_not_renewed_does_not_count(database: Database) -> None:
    await HeldWork(database).report("a", {"email-sender.high": 2_000})

    assert await HeldWork(database, valid_s=0).oldest() == {}
