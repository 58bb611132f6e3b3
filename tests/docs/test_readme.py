"""What only the README says: settings with their defaults, metrics, the topology, and examples that are tried."""

import json
import re
from typing import Any

import httpx
import pytest
from prometheus_client.metrics import MetricWrapperBase
from wavecom_common.events import routing
from wavecom_common.hosting.settings import Settings
from wavecom_common.messaging import topology
from wavecom_common.telemetry import metrics
from wavecom_common.testing.waiting import eventually

from tests.docs.curl import Request, requests
from tests.docs.pages import README, ROOT, Page
from tests.docs.settings import GROUPS, OWN, SETTINGS
from tests.docs.test_docs import expanded

API = "http://localhost:3000"
EXAMPLE_ID = "675a1b2c3d4e5f6g7h8i9j0k"


def rows(section: str, page: Page = README) -> list[list[str]]:
    """The cells of a section's tables, without their headings."""
    lines = [line for line in page.section(section).splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def defaults(cell: str, processes: list[str]) -> dict[str, str]:
    """A default of all, or several, each behind the processes that have it."""
    if cell.startswith("`") or cell == "unset":
        return dict.fromkeys(processes, cell.strip("`"))
    pairs = re.findall(r"([\w-]+) `([^`]*)`", cell)
    return {process: value for group, value in pairs for process in GROUPS[group]}


def test_the_table_has_every_setting_with_its_default_and_its_processes() -> None:
    told = {}
    for variable, default, groups, meaning in rows("Settings"):
        processes = [process for group in groups.split(", ") for process in GROUPS[group]]
        told[variable.strip("`")] = defaults(default, processes)
        assert meaning
    assert told == SETTINGS


@pytest.mark.parametrize("sender", OWN)
def test_the_table_of_a_senders_folder_has_every_setting_of_its_own(sender: str) -> None:
    found = rows("Settings", Page(ROOT / f"services/{sender}/README.md")) if OWN[sender] else []
    assert {variable.strip("`"): default.strip("`") for variable, default, _ in found} == OWN[sender]


def test_the_table_has_every_metric() -> None:
    families = [
        family
        for instrument in vars(metrics).values()
        if isinstance(instrument, MetricWrapperBase)
        for family in instrument.describe()
    ]
    names = {family.name + ("_total" if family.type == "counter" else "") for family in families}
    assert {row[0].strip("`") for row in rows("Looking inside")} == names


def test_the_drawing_of_the_topology_has_every_exchange_queue_and_binding() -> None:
    plan = topology.plan(Settings().broker_delays_ms)
    [drawing] = [body for language, body in README.fences if language == "text" and "├─ notification" in body]
    queues = {key for queue in plan.queues for _, key in queue.bindings if key.startswith("queue.")}
    work = [key.removeprefix("queue.") for key in sorted(queues)]
    drawn, exchanges, exchange = set(), {}, ""
    for line in drawing.splitlines():
        binding = re.match(r"  [├└]─ (.+?) ─+▶ (\S+)", line)
        if binding is None:
            exchange, kind = line.replace(",", "").replace(")", "").split(" (")
            exchanges |= dict.fromkeys(expanded(exchange), kind.split()[0])
            continue
        key, queue = binding[1], binding[2]
        for one in work if "<queue>" in key else [""]:
            triples = [f"{exchange} {key} {queue}".replace("<queue>", one)]
            drawn |= {tuple(names.split(" ")) for triple in triples for names in expanded(triple)}
    assert exchanges == {name: kind.value for name, kind in plan.exchanges.items()}
    assert drawn == {(exchange, key, queue.name) for queue in plan.queues for exchange, key in queue.bindings}
    assert {queue for _, _, queue in drawn} >= {routing.DISPATCHER_QUEUE, routing.PROJECTOR_QUEUE}


def like(documented: Any, answer: Any) -> bool:
    """Whether an answer has the documented form; null stands for any value, on either side."""
    if documented is None or answer is None:
        return True
    if isinstance(documented, dict) and isinstance(answer, dict):
        return documented.keys() == answer.keys() and all(like(value, answer[key]) for key, value in documented.items())
    if isinstance(documented, list) and isinstance(answer, list):
        known = all(any(like(one, given) for one in documented) for given in answer)
        # One element stands for any number of them; several are a story of which nothing may be missing.
        return known and (len(documented) == 1 or all(any(like(one, given) for given in answer) for one in documented))
    return type(documented) is type(answer)


def examples() -> list[tuple[list[Request], Any]]:
    """Requests, and the documented answer that follows them."""
    blocks = [(language, body) for language, body in README.fences if language == "json" or "curl" in body]
    return [
        (requests(shell), json.loads(answer))
        for (_, shell), (language, answer) in zip(blocks[::2], blocks[1::2], strict=True)
    ]


def ask(api: httpx.Client, request: Request) -> httpx.Response:
    assert request.url.startswith(API), request.url
    path = request.url.removeprefix(API)
    return api.request(request.method, path, headers=request.headers, content=request.body)


async def test_the_examples_give_the_documented_answers(api: httpx.Client) -> None:
    created = ""
    for asked, documented in examples():
        for request in asked:
            if EXAMPLE_ID in request.url:
                unchanged = ask(api, request)
                assert (unchanged.status_code, unchanged.json()["message"]) == (404, "Notification not found")
                request.url = request.url.replace(EXAMPLE_ID, created)

            def answered(request: Request = request, documented: Any = documented) -> dict[str, Any]:
                answer: dict[str, Any] = ask(api, request).json()
                assert like(documented, answer), answer
                for said in {"status", "message", "errors"} & documented.keys():
                    assert documented[said] == answer[said]
                return answer

            once = request.method == "POST"
            answer = answered() if once else await eventually(answered, what=request.url)
            created = answer.get("data", {}).get("id", created) if once else created
    assert created


def test_a_command_that_cannot_be_tried_is_refused() -> None:
    with pytest.raises(ValueError, match="not known"):
        requests(f"curl --insecure {API}/health")
    with pytest.raises(ValueError, match="not curl"):
        requests(f"wget {API}/health")
