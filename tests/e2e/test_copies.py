"""Two copies of every process and three of some share one load: nothing is a singleton by accident."""

import json
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from status_projector.model.read_model import Filters, ReadModel
from status_projector.recovery.checker import Checker
from status_projector.store.event_store import EventStore
from wavecom_common.storage.client import Database
from wavecom_common.testing.waiting import eventually
from wavecom_stack.infra import Infra

from tests.system import System, running_system

COPIES = {
    "ingest-api": 2,
    "dispatcher": 3,
    "email-sender": 2,
    "sms-sender": 3,
    "push-sender": 2,
    "status-projector": 3,
    "status-query": 2,
}
RECIPIENTS = {"email": "user@example.com", "sms": "+15551234567", "push": "device-token-0001"}
NOTIFICATIONS = 600
# The counter that shows a process at work, by the start of its name.
WORK = {
    "ingest-api": r"wavecom_notifications_accepted_total\{",
    "dispatcher": r'wavecom_batch_size_count\{.*what="publish"',
    "status-projector": r'wavecom_batch_size_count\{.*what="projection"',
    **dict.fromkeys(("email-sender", "sms-sender", "push-sender"), r"wavecom_notifications_sent_total\{"),
}


def work_of(url: str, counter: str) -> float:
    """What a process says that it did."""
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if re.match(counter, line))


def post(number: int, apis: list[str]) -> str:
    channel = list(RECIPIENTS)[number % 3]
    priority = ("high", "medium", "low")[number // 3 % 3]
    body = {"recipient": RECIPIENTS[channel], "message": "Hello", "channel": channel, "priority": priority}
    answer = httpx.post(f"{apis[number % len(apis)]}/api/notifications", json=body, timeout=30)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["data"]["id"])


async def all_sent(system: System, infra: Infra) -> None:
    """Until everything is sent; then the model is the fold of the store."""
    database = Database(infra.mongodb_url, system.database)
    model = ReadModel(database)

    async def sent() -> bool:
        return await model.count(Filters("default", status="sent")) == NOTIFICATIONS

    await eventually(sent, timeout_s=60, what="the end of all")
    report = await Checker(EventStore(database), model).run()
    assert (report.notifications, report.events, report.differing) == (NOTIFICATIONS, 4 * NOTIFICATIONS, 0)
    await database.close()


@pytest.mark.connected
@pytest.mark.timeout(240)
async def test_copies_of_every_process_share_the_work_and_do_it_once(
    infra: Infra, management_url: str, tmp_path: Path
) -> None:
    more = {f"WAVECOM_COPIES_{name.upper().replace('-', '_')}": str(copies) for name, copies in COPIES.items()}
    # Many small messages: there is something to share.
    more |= {"WAVECOM_BATCH_MAX_EVENTS": "2", "OTEL_TRACES_SAMPLER": "always_off"}
    with running_system(infra, management_url, tmp_path, name="copies", more=more) as system:
        first = urlsplit(system.api_url)
        assert first.port is not None
        apis = [f"http://{first.hostname}:{first.port + copy}" for copy in range(COPIES["ingest-api"])]
        with ThreadPoolExecutor(16) as pool:
            ids = list(pool.map(lambda number: post(number, apis), range(NOTIFICATIONS)))
        await all_sent(system, infra)

        calls = [json.loads(line)["notificationId"] for line in system.calls_file.read_text().splitlines()]
        assert Counter(calls) == dict.fromkeys(ids, 1)
        assert {name.rpartition("-")[0] for name in system.admin_urls} == set(COPIES)
        for name, url in system.admin_urls.items():
            assert (system.folder / f"{name}.pid").exists()
            service = name.rpartition("-")[0]
            if service in WORK:
                assert work_of(url, WORK[service]) > 0, f"{name} did nothing"
        # Whoever is asked, at whichever copy, all of it is there.
        for number, notification_id in enumerate(ids[:20]):
            answer = httpx.get(f"{apis[number % len(apis)]}/api/notifications/{notification_id}")
            assert answer.json()["data"]["status"] == "sent"
