"""The certificates of a process: what it checks others by, and how it identifies itself.

One file of authorities and one file with a certificate and its key serve every link. Links to the broker, the mail
server and from gRPC clients read them again for each connection, so that a renewed certificate needs no restart; the
database's driver and the gRPC client read them once.
"""

import ssl
from typing import Literal
from urllib.parse import quote

# `mutual`: the client identifies itself as well.
GrpcTls = Literal["none", "tls", "mutual"]


def check_ca_file(path: str) -> None:
    """Make sure that the file holds authorities.

    Raises:
        ValueError: it cannot be read or holds none; the text holds nothing of it.
    """
    try:
        ssl.create_default_context(cafile=path)
    except OSError as error:
        raise ValueError(_wrong(error, "certificates of authorities in PEM form")) from None


def check_cert_file(path: str) -> None:
    """Make sure that the file holds a certificate and the key that belongs to it.

    Raises:
        ValueError: it cannot be read, or lacks one of them; the text holds nothing of it.
    """
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(path, password=_no_password)
    except (OSError, ValueError) as error:
        raise ValueError(_wrong(error, "a certificate and its key without a password, both in PEM form")) from None


def broker_url(url: str, *, ca_file: str | None, cert_file: str | None) -> str:
    """The broker's URL with the certificates in it, as the client library wants them; as it is without TLS. Pure."""
    given = {"cafile": ca_file, "certfile": cert_file}
    query = "&".join(f"{name}={quote(path, safe='')}" for name, path in given.items() if path)
    if not url.startswith("amqps:") or not query:
        return url
    if "?" in url:
        return f"{url}&{query}"
    slash = "" if "/" in url.removeprefix("amqps://") else "/"
    return f"{url}{slash}?{query}"


def _no_password() -> str:
    # Without this a key with a password is asked for on the terminal.
    raise ValueError("the key has a password")


def _wrong(error: Exception, wanted: str) -> str:
    reason = error.strerror if isinstance(error, OSError) and not isinstance(error, ssl.SSLError) else None
    return f"must be a file with {wanted}" + (f": {reason}" if reason else "")
