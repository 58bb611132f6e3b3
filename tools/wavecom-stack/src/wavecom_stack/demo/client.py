"""The demo as a client of the REST API."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

import httpx
from wavecom_common.kernel.clock import SYSTEM_CLOCK

from wavecom_stack.errors import StackError

_PAGE: Final = 100


class Client:
    """Sends notifications and asks what became of them."""

    def __init__(self, api_url: str) -> None:
        self._http = httpx.AsyncClient(base_url=api_url, timeout=30)

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def send(self, bodies: Sequence[dict[str, Any]], per_second: int, accepted: Callable[[], None]) -> list[str]:
        """POST everything at a steady rate; calls `accepted` for each 201.

        Returns:
            The ids.

        Raises:
            StackError: the API answered something else.
        """

        async def post(number: int, body: dict[str, Any]) -> str:
            await SYSTEM_CLOCK.sleep(number / per_second)
            answer = await self._http.post("/api/notifications", json=body)
            if answer.status_code != httpx.codes.CREATED:
                raise StackError(f"POST /api/notifications was answered with {answer.status_code}: {answer.text}")
            accepted()
            return str(answer.json()["data"]["id"])

        return await asyncio.gather(*(post(number, body) for number, body in enumerate(bodies)))

    async def newest(self, count: int) -> list[dict[str, Any]]:
        """The newest notifications, as the list endpoint shows them."""
        found: list[dict[str, Any]] = []
        for page in range(1, -(-count // _PAGE) + 1):
            answer = await self._http.get("/api/notifications", params={"page": page, "limit": _PAGE})
            found += answer.raise_for_status().json()["data"]["notifications"]
        return found

    async def timeline(self, notification_id: str) -> list[dict[str, Any]]:
        """Everything that happened to one notification, oldest first."""
        answer = await self._http.get(f"/api/notifications/{notification_id}/events")
        events: list[dict[str, Any]] = answer.raise_for_status().json()["data"]["events"]
        return events
