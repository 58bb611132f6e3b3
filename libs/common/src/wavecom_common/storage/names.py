"""The names of the collections; the only place that spells them."""

from typing import Final

EVENTS: Final = "events"
NOTIFICATIONS: Final = "notifications"
DELIVERIES: Final = "deliveries"
