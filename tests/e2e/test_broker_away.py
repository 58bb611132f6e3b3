"""While the broker is away: what was stored is read, POSTs are told to come again, and the API stays in service."""

import httpx
import pytest
from wavecom_common.testing.tcp_proxy import TcpProxy
from wavecom_common.testing.waiting import eventually

from tests.e2e.stage import BODY, PATH, Stage, api, process
from tests.proxied import proxied


@pytest.mark.timeout(180)
async def test_gets_go_on_while_the_broker_is_away(stage: Stage, unused_tcp_port_factory) -> None:
    http_port, admin_port, grpc_port = (unused_tcp_port_factory() for _ in range(3))
    admin = f"http://127.0.0.1:{admin_port}/health"
    addresses = {
        "WAVECOM_ADMIN_PORT": str(admin_port),
        "WAVECOM_STATUS_QUERY_TARGET": f"ipv4:127.0.0.1:{grpc_port}",
    }
    async with (
        proxied(stage.broker_url) as (proxy, url),
        process(stage, "-m", "status_projector", "projector"),
        process(stage, "-m", "status_projector", "query", WAVECOM_GRPC_PORT=str(grpc_port)),
        api(stage, http_port, WAVECOM_RABBITMQ_URL=url, **addresses) as (_, client),
        httpx.AsyncClient(timeout=10) as probe,
    ):

        async def status(path: str) -> int:
            return (await probe.get(f"{admin}/{path}")).status_code

        async def accepted() -> str | None:
            answer = await client.post(PATH, json=BODY)
            return answer.json()["data"]["id"] if answer.status_code == 201 else None

        created = await eventually(accepted, timeout_s=30, what="the API's link")

        async def is_read() -> bool:
            return (await client.get(f"{PATH}/{created}")).status_code == 200

        await eventually(is_read, timeout_s=30, what="the stored notification")
        _take_away(proxy, True)

        async def is_not_ready() -> bool:
            return await status("ready") == 503

        await eventually(is_not_ready, what="the end of readiness")
        assert (await status("serving"), await status("live")) == (200, 200)
        for _ in range(5):
            assert await is_read()
            assert (await client.get(PATH)).json()["data"]["pagination"]["total"] >= 1
            assert (await client.get("/health")).status_code == 200
            refused = await client.post(PATH, json=BODY)
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        _take_away(proxy, False)
        assert await eventually(accepted, timeout_s=40, what="the API's return")


def _take_away(proxy: TcpProxy, away: bool) -> None:
    proxy.refuse(away)
    proxy.cut()
