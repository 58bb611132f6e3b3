"""The names of the collections; the only place that spells them."""

from typing import Final

EVENTS: Final = "events"
NOTIFICATIONS: Final = "notifications"
# The read model is in the first until it is rebuilt, then in the other one, and so on in turn: see `pointer`.
READ_MODELS: Final = (NOTIFICATIONS, "notifications_2")
POINTER: Final = "read_model"
DELIVERIES: Final = "deliveries"
IDEMPOTENCY_KEYS: Final = "idempotency_keys"
PAYLOADS: Final = "payloads"
SWEEPS: Final = "sweeps"
HELD_WORK: Final = "held_work"
RETENTION: Final = "retention"
