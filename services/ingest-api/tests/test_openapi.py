"""The OpenAPI document and the API say the same."""

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from ingest_api.answers import CreatedAnswer
from ingest_api.routes import BATCH, NOTIFICATIONS
from wavecom_common.hosting.http import HttpServer

CONFIGURATION = Path(__file__).parents[3] / "schemathesis.toml"
SCHEMATHESIS = shutil.which("schemathesis", path=Path(sys.executable).parent)


@pytest.fixture
async def served(app) -> AsyncIterator[str]:
    server = HttpServer(app, name="ingest-api", host="127.0.0.1", port=0)
    await server.start()
    yield f"http://127.0.0.1:{server.port}"
    await server.drain()
    await server.close()


@pytest.mark.timeout(240)
async def test_schemathesis_finds_no_disagreement(served: str, tmp_path: Path):
    assert SCHEMATHESIS is not None
    process = await asyncio.create_subprocess_exec(
        SCHEMATHESIS,
        *(
            "--config-file",
            CONFIGURATION,
            "run",
            f"{served}/openapi.json",
            "--checks=all",
            "--phases=examples,coverage,fuzzing,stateful",
        ),
        *("--max-examples=25", "--seed=20261122", "--generation-database=none", "--no-color"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=tmp_path,
    )
    output, _ = await process.communicate()

    assert process.returncode == 0, output.decode()


async def test_every_operation_is_documented_with_its_answers(client):
    paths = (await client.get("/openapi.json")).json()["paths"]

    answers = {
        (method, path): sorted(operation["responses"])
        for path, operations in paths.items()
        for method, operation in operations.items()
    }
    assert answers == {
        ("post", NOTIFICATIONS): ["201", "400", "403", "408", "413", "421", "422", "503"],
        ("post", BATCH): ["201", "207", "400", "403", "408", "413", "421", "422", "503"],
        ("get", NOTIFICATIONS): ["200", "400", "403", "421", "503"],
        ("get", f"{NOTIFICATIONS}/{{id}}"): ["200", "403", "404", "421", "503"],
        ("get", f"{NOTIFICATIONS}/{{id}}/events"): ["200", "403", "404", "421", "503"],
        ("get", "/health"): ["200", "403", "421"],
    }


async def test_the_frameworks_own_422_appears_nowhere(client):
    paths = (await client.get("/openapi.json")).json()["paths"]
    with_422 = [path for path, operations in paths.items() for one in operations.values() if "422" in one["responses"]]
    assert sorted(with_422) == [NOTIFICATIONS, BATCH]
    assert "HTTPValidationError" not in (await client.get("/openapi.json")).text


async def test_the_documents_examples_are_accepted(client):
    document = (await client.get("/openapi.json")).json()

    for path in (NOTIFICATIONS, BATCH):
        content = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        for example in content["examples"].values():
            assert (await client.post(path, json=example["value"])).status_code == 201


async def test_the_answer_to_a_post_is_the_documented_model(client):
    answer = await client.post(NOTIFICATIONS, json={"recipient": "a@example.com", "message": "x", "channel": "email"})

    assert CreatedAnswer.model_validate_json(answer.content).model_dump(by_alias=True) == answer.json()
