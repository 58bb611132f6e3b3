"""TLS between ingest-api and status-query.

Source: https://grpc.io/docs/guides/auth/
"""

from pathlib import Path

import grpc

from wavecom_common.hosting.settings import GrpcSettings


def server_credentials(settings: GrpcSettings) -> grpc.ServerCredentials | None:
    """What the server is made with, which reads the files again for each connection; None without TLS."""
    if settings.grpc_tls == "none":
        return None
    mutual = settings.grpc_tls == "mutual"

    def configuration() -> grpc.ServerCertificateConfiguration:
        own = _read(settings.tls_cert_file)
        return grpc.ssl_server_certificate_configuration([(own, own)], _read(settings.tls_ca_file) if mutual else None)

    return grpc.dynamic_ssl_server_credentials(configuration(), configuration, require_client_authentication=mutual)


def channel_credentials(settings: GrpcSettings) -> grpc.ChannelCredentials | None:
    """What a client is made with; None without TLS."""
    if settings.grpc_tls == "none":
        return None
    own = _read(settings.tls_cert_file) if settings.grpc_tls == "mutual" else None
    return grpc.ssl_channel_credentials(_read(settings.tls_ca_file) if settings.tls_ca_file else None, own, own)


def _read(path: str | None) -> bytes:
    assert path is not None
    return Path(path).read_bytes()
