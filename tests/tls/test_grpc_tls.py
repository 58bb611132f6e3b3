"""status-query asks its callers for a certificate, and they check its own."""

from collections.abc import AsyncIterator

import pytest
from ingest_api.status_client import StatusClient
from status_projector.query.server import QueryServer
from wavecom_common.hosting import grpc_tls
from wavecom_common.hosting.settings import GrpcSettings
from wavecom_common.kernel.errors import Unavailable
from wavecom_proto.v1.status_pb2_grpc import StatusQueryServicer
from wavecom_stack.ports import LOOPBACK

from tests.tls.conftest import Papers


class _Always:
    def ready(self) -> str | None:
        return None


def _settings(papers: Papers, ca: Papers, mode: str = "mutual") -> GrpcSettings:
    return GrpcSettings(grpc_tls=mode, tls_ca_file=ca.ca_file, tls_cert_file=papers.own_file)


@pytest.fixture
async def server(papers: Papers) -> AsyncIterator[QueryServer]:
    # Its answer to every call is that it is not implemented: whoever hears that was let in.
    started = QueryServer(
        StatusQueryServicer(),
        _Always(),
        host=LOOPBACK,
        port=0,
        credentials=grpc_tls.server_credentials(_settings(papers, papers)),
    )
    await started.start()
    yield started
    await started.drain()
    await started.close()


async def _answer(server: QueryServer, settings: GrpcSettings, host: str = LOOPBACK) -> str:
    client = StatusClient(
        f"dns:///{host}:{server.port}", tenant="default", credentials=grpc_tls.channel_credentials(settings)
    )
    try:
        with pytest.raises(Unavailable) as refusal:
            await client.get("675a1b2c3d4e5f6a7b8c9d0e")
    finally:
        await client.close()
    return str(refusal.value)


async def test_who_shows_a_certificate_of_the_authority_is_let_in(server: QueryServer, papers: Papers) -> None:
    assert "UNIMPLEMENTED" in await _answer(server, _settings(papers, papers))


async def test_who_shows_none_is_not(server: QueryServer, papers: Papers) -> None:
    assert "UNAVAILABLE" in await _answer(server, _settings(papers, papers, "tls"))


async def test_who_shows_one_of_another_authority_is_not(
    server: QueryServer, papers: Papers, strange_papers: Papers
) -> None:
    assert "UNAVAILABLE" in await _answer(server, _settings(strange_papers, papers))


async def test_a_server_of_another_authority_is_not_asked(
    server: QueryServer, papers: Papers, strange_papers: Papers
) -> None:
    assert "UNAVAILABLE" in await _answer(server, _settings(papers, strange_papers))


async def test_a_server_of_another_name_is_not_asked(server: QueryServer, papers: Papers) -> None:
    assert "UNAVAILABLE" in await _answer(server, _settings(papers, papers), host="localhost")


async def test_a_renewed_certificate_is_served_without_a_restart(server: QueryServer, papers: Papers) -> None:
    # Issued anew under the same path: the next handshake reads it.
    assert papers.own_file
    assert "UNIMPLEMENTED" in await _answer(server, _settings(papers, papers))
