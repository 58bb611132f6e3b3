"""Hypothesis strategies for what may happen to notifications, sensible or not."""

from collections.abc import Sequence
from typing import Any

import orjson
from hypothesis import strategies as st
from wavecom_proto.v1.events_pb2 import Content, Event

from wavecom_common.events import types
from wavecom_common.events.channels import CHANNELS, PRIORITIES
from wavecom_common.kernel.ids import new_notification_id

EPOCH_MS = 1_700_000_000_000

# What a client may write, with what a database might take for an expression among it.
texts = st.sampled_from(["", "$secret", "$ 5 is due", "$$ROOT", "a.b", "ünïcödé \U0001f680"]) | st.text(max_size=20)
times_ms = st.integers(EPOCH_MS, EPOCH_MS + 20)  # few, so that ties are common
attempts = st.integers(1, 4)

_keys = texts.filter(lambda text: "\0" not in text)
_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_keys, inner, max_size=3),
    max_leaves=8,
)
metadata = st.dictionaries(_keys, _values, max_size=4)


@st.composite
def contents(draw: st.DrawFn) -> Content:
    """What a client asked for."""
    return Content(
        recipient=draw(texts),
        message=draw(texts),
        subject=draw(st.none() | texts),
        metadata_json=draw(st.just("") | metadata.map(lambda given: orjson.dumps(given).decode())),
        max_attempts=draw(attempts),
        on_unknown="resend",
    )


@st.composite
def histories(draw: st.DrawFn) -> list[Event]:
    """Events of one notification, each id once: its request, and any others in any number and order.

    Many make no sense in the order of their attempts (a failure after a send, two ends): the fold has to agree with
    itself on those, too.
    """
    requested = types.requested(
        notification_id=new_notification_id(EPOCH_MS),
        tenant=draw(st.sampled_from(["default", "$tenant"])),
        channel=draw(st.sampled_from(CHANNELS)),
        priority=draw(st.sampled_from(PRIORITIES)),
        content=draw(contents()),
        now_ms=draw(times_ms),
        traceparent=draw(st.sampled_from(["", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"])),
    )
    others = draw(st.lists(_followers(requested), max_size=8))
    events = {event.event_id: event for event in [requested, *others]}
    return draw(st.permutations(list(events.values())))


@st.composite
def deliveries(draw: st.DrawFn, events: Sequence[Event]) -> list[list[Event]]:
    """The events as a broker may bring them: in any order, some more than once, in batches of any size."""
    again = draw(st.lists(st.sampled_from(events), max_size=len(events)))
    arriving = draw(st.permutations([*events, *again]))
    cuts = sorted(draw(st.sets(st.integers(1, max(1, len(arriving) - 1)), max_size=5)))
    return [list(arriving[start:end]) for start, end in zip([0, *cuts], [*cuts, len(arriving)], strict=True)]


@st.composite
def _followers(draw: st.DrawFn, requested: Event) -> Event:
    now_ms = draw(times_ms)
    attempt = types.dispatched(requested, attempt=draw(attempts), now_ms=now_ms)
    kind = draw(st.sampled_from([name for name in types.EVENT_TYPES if name != types.REQUESTED]))
    if kind == types.STARTED:
        return types.started(attempt, provider="simulated", now_ms=now_ms)
    if kind == types.SENT:
        return types.sent(attempt, provider="simulated", provider_message_id=draw(texts), now_ms=now_ms)
    if kind == types.RETRY_SCHEDULED:
        return types.retry_scheduled(attempt, error=draw(texts), delay_ms=draw(st.integers(0, 10**7)), now_ms=now_ms)
    if kind == types.FAILED:
        reasons = [types.PERMANENT, types.EXHAUSTED, types.UNROUTABLE, types.DEAD_LETTER, types.REFUSED]
        reason = draw(st.sampled_from(reasons))
        return types.failed(attempt, error=draw(texts), reason=reason, now_ms=now_ms)
    if kind == types.OUTCOME_UNKNOWN:
        return types.outcome_unknown(attempt, action="resend", now_ms=now_ms)
    return attempt
