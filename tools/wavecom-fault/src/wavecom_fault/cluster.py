"""The system on three broker nodes and three database servers, and the means to hurt those."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import httpx
from pymongo import MongoClient
from pymongo.errors import PyMongoError
from wavecom_stack.infra import Infra
from wavecom_stack.rabbitmq import PrivateBroker
from wavecom_stack.stack import Stack
from wavecom_stack.state import State

from wavecom_fault.cluster_matrix import Blow, Plan
from wavecom_fault.network import Network
from wavecom_fault.system import Missed, Watched

_BEAT_S: Final = 0.05


class Cluster(Watched):
    """A running system on several servers of each kind."""

    def __init__(
        self,
        servers: Stack,
        infra: Infra,
        state: State,
        networks: tuple[Network, Network],
        calls_file: Path,
    ) -> None:
        super().__init__(infra, state, calls_file)
        self.brokers: Final = [one for one in infra.private if isinstance(one, PrivateBroker)]
        self._servers = servers
        self._broker_network, self._database_network = networks
        # Nodes that cannot answer for the cluster now.
        self.away: set[str] = set()
        # The network is in this process: how long it stood still at the longest since it was set to 0 last.
        self.network_stalled_s = 0.0

    async def strike(self, plan: Plan) -> Sequence[str]:
        """Do it; returns when the fault is over, though what was hit may still be starting.

        Returns:
            The servers that were hit.

        Raises:
            Missed: there was none to hit.
        """
        victims = await self.victims(plan.blow)
        self.away.update(victims)
        try:
            await self._hit(plan, victims)
        finally:
            self.away.difference_update(victims)
        return victims

    async def watch_network(self) -> None:
        """Note how long the loop that our network runs in stands still."""
        loop = asyncio.get_running_loop()
        while True:
            before_s = loop.time()
            await asyncio.sleep(_BEAT_S)  # noqa: TID251 - measures how late it comes back
            self.network_stalled_s = max(self.network_stalled_s, loop.time() - before_s - _BEAT_S)

    async def victims(self, blow: Blow) -> Sequence[str]:
        """Who is hit by this one, as things are now."""
        if blow.on_database:
            return [await asyncio.to_thread(self._primary)]
        by_leaders = await self.leaders()
        if blow.on_follower:
            return by_leaders[-1:]
        return by_leaders[: 2 if blow is Blow.TWO_AWAY else 1]

    async def leaders(self) -> Sequence[str]:
        """The broker's nodes, that which leads most of the work queues first."""
        led = Counter(str(queue.get("leader", "")).partition("@")[0] for queue in await self.queues())
        return sorted((broker.name for broker in self.brokers), key=lambda name: -led[name])

    async def queues(self) -> Sequence[dict[str, Any]]:
        """Every queue that somebody reads, as a node shows it that is not away."""
        failure: Exception = Missed("no node answers")
        for broker in self.alive():
            try:
                async with httpx.AsyncClient(base_url=broker.management_url, timeout=10) as api:
                    return (await api.get("/api/queues")).raise_for_status().json()  # type: ignore[no-any-return]
            except httpx.HTTPError as error:
                failure = error
        raise failure

    def alive(self) -> Sequence[PrivateBroker]:
        """The broker's nodes that are not away."""
        return [broker for broker in self.brokers if broker.name not in self.away]

    async def not_ready(self) -> Sequence[str]:
        """The servers and processes that are not ready."""
        answers = await asyncio.gather(*[asyncio.to_thread(server.not_ready) for server in self.infra.private])
        late = [server.name for server, why in zip(self.infra.private, answers, strict=True) if why is not None]
        return [*late, *await super().not_ready()]

    def _primary(self) -> str:
        with MongoClient[dict[str, Any]](self.infra.mongodb_url, serverSelectionTimeoutMS=20_000) as client:
            try:
                client.admin.command("ping")
                members = client.admin.command("replSetGetConfig")["config"]["members"]
            except PyMongoError as error:
                raise Missed(f"the databases have no primary: {type(error).__name__}") from error
            assert client.primary is not None
            places = [member["host"] for member in members]
            return f"mongodb-{places.index(f'{client.primary[0]}:{client.primary[1]}') + 1}"

    async def _hit(self, plan: Plan, victims: Sequence[str]) -> None:
        network = self._database_network if plan.blow.on_database else self._broker_network
        if plan.blow.cuts:
            network.cut_off(victims[0])
            try:
                await asyncio.sleep(plan.hold_s)  # noqa: TID251 - this long it is cut off
            finally:
                network.join()
        elif plan.blow.freezes:
            pid = self._servers.supervisor.pid(victims[0])
            os.kill(pid, signal.SIGSTOP)
            try:
                await asyncio.sleep(plan.hold_s)  # noqa: TID251 - this long it stands still
            finally:
                os.kill(pid, signal.SIGCONT)
        else:
            await self._keep_away(victims, plan.hold_s)

    async def _keep_away(self, victims: Sequence[str], seconds: float) -> None:
        """SIGKILL, and not started again for so long."""
        try:
            for victim in victims:
                await asyncio.to_thread(self._servers.supervisor.stop_program, victim)
            await asyncio.sleep(seconds)  # noqa: TID251 - this long it is away
        finally:
            for victim in victims:
                await asyncio.to_thread(self._servers.supervisor.start_program, victim)
