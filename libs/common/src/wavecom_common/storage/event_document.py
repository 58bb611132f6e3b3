"""Events as MongoDB has them: readable to an operator, and turned back into equal events.

What an event type carries of its own stands under the name it has in the schema, in camel case, so a type that is not
known here is stored as far as it is known.
"""

from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor
from wavecom_proto.v1.events_pb2 import Event

from wavecom_common.events import types
from wavecom_common.storage.driver import DatetimeMS, Document

# Payloads by their names in a document, which are those of the schema in camel case.
_PAYLOADS: Final = {field.json_name: field for field in Event.DESCRIPTOR.fields if field.message_type is not None}
# NotificationDispatched repeats the content of NotificationRequested on the wire; here it is stored once.
_NOT_REPEATED: Final = {types.DISPATCHED: "content"}


def to_document(event: Event, recorded_at_ms: int) -> Document:
    """The document of an event; `recorded_at_ms` tells an operator when it got here."""
    document: Document = {
        "_id": event.event_id,
        "nid": event.notification_id,
        "type": event.type,
        "attempt": event.attempt,
        "at": DatetimeMS(event.occurred_at_ms),
        "recordedAt": DatetimeMS(recorded_at_ms),
        "requestedAt": DatetimeMS(event.requested_at_ms),
        "tenant": event.tenant,
        "channel": event.channel,
        "priority": event.priority,
    }
    if event.traceparent:
        document["traceparent"] = event.traceparent
    if event.tracestate:
        document["tracestate"] = event.tracestate
    for field, value in event.ListFields():
        if field.message_type is not None and field.name != _NOT_REPEATED.get(event.type):
            document[field.json_name] = {part.json_name: given for part, given in value.ListFields()}
    return document


def from_document(found: Document) -> Event:
    """The event of a stored document; without content for NotificationDispatched."""
    return Event(
        event_id=found["_id"],
        notification_id=found["nid"],
        type=found["type"],
        attempt=found["attempt"],
        occurred_at_ms=int(found["at"]),
        requested_at_ms=int(found["requestedAt"]),
        tenant=found["tenant"],
        channel=found["channel"],
        priority=found["priority"],
        traceparent=found.get("traceparent", ""),
        tracestate=found.get("tracestate", ""),
        **{field.name: _payload(field, found[name]) for name, field in _PAYLOADS.items() if name in found},
    )


def _payload(field: FieldDescriptor, stored: Document) -> dict[str, Any]:
    parts = field.message_type.fields
    return {part.name: stored[part.json_name] for part in parts if part.json_name in stored}
