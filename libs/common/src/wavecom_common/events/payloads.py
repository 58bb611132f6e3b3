"""Large contents: kept once in the database, and named in events by what they are. Pure.

A content's payload is what grows with what the client sends: message, subject and metadata. The id of a payload is the
digest of it and of its tenant, so the same letter to a thousand recipients is kept once, and a repeat changes nothing.
"""

import hashlib
from dataclasses import dataclass

from wavecom_proto.v1.events_pb2 import Content


@dataclass(frozen=True, slots=True)
class Payload:
    """What is delivered, and what the client keeps with it."""

    message: str
    # E-mail only.
    subject: str | None = None
    # A JSON object as text; empty when the client gave none.
    metadata_json: str = ""


def payload_of(content: Content) -> Payload:
    """The payload that stands in the content itself."""
    subject = content.subject if content.HasField("subject") else None
    return Payload(content.message, subject, content.metadata_json)


def size_bytes(content: Content) -> int:
    """How large the payload in the content is, in UTF-8."""
    return len(content.message.encode()) + len(content.subject.encode()) + len(content.metadata_json.encode())


def payload_id(tenant: str, payload: Payload) -> str:
    """The name of a payload: 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for part in (tenant, payload.message, payload.subject, payload.metadata_json):
        # With its length, so that no two payloads are one row of bytes; -1 is no subject at all.
        data = b"" if part is None else part.encode()
        digest.update(f"{-1 if part is None else len(data)}:".encode() + data)
    return digest.hexdigest()


def refer(content: Content, payload_id: str) -> None:
    """Put the reference in the payload's place."""
    content.payload_id = payload_id
    for field in ("message", "subject", "metadata_json"):
        content.ClearField(field)
