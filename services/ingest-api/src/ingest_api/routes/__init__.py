"""The endpoints."""

from typing import Final

NOTIFICATIONS: Final = "/api/notifications"
BATCH: Final = f"{NOTIFICATIONS}/batch"
