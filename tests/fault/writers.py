"""What a sender and a projector write about one notification."""

import asyncio

from status_projector.model import projection
from status_projector.model.read_model import ReadModel
from status_projector.store.event_store import EventStore
from wavecom_common.delivery.ledger import Ledger
from wavecom_common.events import types
from wavecom_common.events.outcomes import Delivered
from wavecom_common.kernel.retrying import until_available
from wavecom_common.testing.builders import a_dispatch, a_request


async def deliver(ledger: Ledger, store: EventStore, model: ReadModel) -> str:
    """All of it, each step repeated until it is acknowledged; the notification's id."""
    request = a_request(channel="sms")
    dispatch = a_dispatch(request=request)
    key = f"{dispatch.notification_id}:1"
    sent = types.sent(dispatch, provider="p", provider_message_id="x", now_ms=5)
    events = [request, dispatch, sent]
    for step in (
        lambda: ledger.claim(key),
        lambda: ledger.settle(key, Delivered("x"), 5),
        lambda: store.append(events),
        lambda: model.merge(projection.fold(events)),
    ):
        await until_available(step, stop=asyncio.Event(), tell=lambda _: None)  # type: ignore[arg-type]
    return dispatch.notification_id
