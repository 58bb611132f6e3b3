"""Events as MongoDB has them: readable to an operator, and turned back into equal events.

A field that is set stands under its name in the schema, in camel case, but for a few that have a short one. So a field
added to the schema is stored without a change here, and an event type from the future as far as it is known.
"""

from typing import Any, Final

from wavecom_proto.v1.events_pb2 import Event

from wavecom_common.events import types
from wavecom_common.storage.driver import DatetimeMS, Document

_SHORT: Final = {
    "event_id": "_id",
    "notification_id": "nid",
    "occurred_at_ms": "at",
    "requested_at_ms": "requestedAt",
}
_TIMES: Final = frozenset({"occurred_at_ms", "requested_at_ms"})
_FIELDS: Final = Event.DESCRIPTOR.fields
_STORED_NAMES: Final = {field.name: _SHORT.get(field.name, field.json_name) for field in _FIELDS}
# The parts of each payload, by their names in a document.
_PARTS: Final = {
    field.name: {part.json_name: part.name for part in field.message_type.fields}
    for field in _FIELDS
    if field.message_type is not None
}
# NotificationDispatched repeats the content of NotificationRequested on the wire; here it is stored once.
_NOT_REPEATED: Final = {types.DISPATCHED: "content"}


def to_document(event: Event, recorded_at_ms: int) -> Document:
    """The document of an event; `recorded_at_ms` tells an operator when it got here."""
    document: Document = {"attempt": 0, "recordedAt": DatetimeMS(recorded_at_ms)}
    left_out = _NOT_REPEATED.get(event.type)
    for field, value in event.ListFields():
        if field.name in _TIMES:
            value = DatetimeMS(value)
        elif field.name in _PARTS:
            value = {part.json_name: given for part, given in value.ListFields()}
        if field.name != left_out:
            document[_STORED_NAMES[field.name]] = value
    return document


def from_document(found: Document) -> Event:
    """The event of a stored document; without content for NotificationDispatched."""
    fields: dict[str, Any] = {name: found[stored] for name, stored in _STORED_NAMES.items() if stored in found}
    for name, value in fields.items():
        if name in _TIMES:
            fields[name] = int(value)
        elif name in _PARTS:
            fields[name] = {_PARTS[name][part]: given for part, given in value.items() if part in _PARTS[name]}
    return Event(**fields)
