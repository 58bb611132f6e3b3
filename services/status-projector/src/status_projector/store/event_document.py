"""Events as MongoDB has them: readable to an operator, and turned back into equal events.

A field that is set stands under its name in the schema, in camel case, but for a few that have a short one. So a field
added to the schema is stored without a change here, and an event type from the future as far as it is known.
"""

from collections.abc import Sequence
from typing import Any, Final

from google.protobuf.message import Message
from wavecom_common.events import types
from wavecom_common.kernel.errors import Unstorable
from wavecom_common.kernel.ids import is_notification_id
from wavecom_common.storage.driver import DatetimeMS, Document
from wavecom_proto.v1.events_pb2 import Event

# A document of the read model holds a request, its metadata and an error, of this size each; the server takes 16 MiB.
MAX_BYTES: Final = 4 * 1024 * 1024

_SHORT: Final = {
    "event_id": "_id",
    "notification_id": "nid",
    "occurred_at_ms": "at",
    "requested_at_ms": "requestedAt",
}
_TIMES: Final = frozenset({"occurred_at_ms", "requested_at_ms"})
_FIELDS: Final = [(field, _SHORT.get(field.name, field.json_name)) for field in Event.DESCRIPTOR.fields]
# Names in the schema and in a document, of what the envelope holds and of the payloads. Looked up once: this runs for
# every event, and walking descriptors takes three times as long.
_ENVELOPE: Final = [(field.name, stored) for field, stored in _FIELDS if field.message_type is None]
_PAYLOADS: Final = {
    field.name: (stored, [(part.name, part.json_name, part.has_presence) for part in field.message_type.fields])
    for field, stored in _FIELDS
    if field.message_type is not None
}
# NotificationDispatched repeats the content of NotificationRequested on the wire; here it is stored once.
_NOT_REPEATED: Final = {types.DISPATCHED: "content"}


def to_document(event: Event, recorded_at_ms: int) -> Document:
    """The document of an event; `recorded_at_ms` tells an operator when it got here.

    Raises:
        Unstorable: the read model could not hold what it tells. So it is refused here, before it is stored.
    """
    _check(event)
    document: Document = {"attempt": 0, "recordedAt": DatetimeMS(recorded_at_ms)}
    for name, stored in _ENVELOPE:
        if value := getattr(event, name):
            document[stored] = DatetimeMS(value) if name in _TIMES else value
    payload = event.WhichOneof("payload")
    if payload is not None and payload != _NOT_REPEATED.get(event.type):
        stored, parts = _PAYLOADS[payload]
        document[stored] = _parts(getattr(event, payload), parts)
    return document


def from_document(found: Document) -> Event:
    """The event of a stored document; without content for NotificationDispatched."""
    fields: dict[str, Any] = {
        name: int(found[stored]) if name in _TIMES else found[stored] for name, stored in _ENVELOPE if stored in found
    }
    for name, (stored, parts) in _PAYLOADS.items():
        if stored in found:
            payload = found[stored]
            fields[name] = {part: payload[known] for part, known, _ in parts if known in payload}
    return Event(**fields)


def _check(event: Event) -> None:
    if not is_notification_id(event.notification_id):
        raise Unstorable("its notification id is not 24 hexadecimal digits")
    # Walks in the order of event ids meet all events of a notification one after the other.
    if not event.event_id.startswith(f"{event.notification_id}:"):
        raise Unstorable("its event id does not begin with its notification id")
    if event.ByteSize() > MAX_BYTES:
        raise Unstorable(f"it has {event.ByteSize()} bytes, more than {MAX_BYTES}")


def _parts(payload: Message, parts: Sequence[tuple[str, str, bool]]) -> Document:
    found = {}
    for name, stored, optional in parts:
        value = getattr(payload, name)
        if value or (optional and payload.HasField(name)):
            found[stored] = value
    return found
