"""What goes wrong, all of it decided by one seed: delays, failures before and after the effect, and death."""

import asyncio
import random
from enum import Enum

from wavecom_common.kernel.errors import Unavailable
from wavecom_common.testing.virtual_time import VirtualClock

# Half of what the clocks of two processes differ by at most.
SKEW_MS = 150_000


class Loss(Enum):
    """What the broker loses of what it confirmed."""

    NOTHING = "nothing"
    SOME = "some messages"
    ALL = "everything it holds, once"


class Process:
    """One life of a process. Once dead, nothing it does has an effect any more, and nothing ever answers it.

    Its host's clock is minutes off.
    """

    def __init__(self, name: str, chaos: "Chaos") -> None:
        self.name = name
        self.alive = True
        self.clock = VirtualClock(chaos.random.randint(-SKEW_MS, SKEW_MS))
        self._chaos = chaos

    async def step(self, *, may_fail: bool = True) -> bool:
        """Before an effect: take some time, perhaps fail, perhaps never come back.

        Returns:
            Whether the effect is to be followed by an error, as when an answer is lost.
        """
        chaos = self._chaos
        await asyncio.sleep(chaos.random.expovariate(1 / 0.01))  # noqa: TID251 - virtual time
        await self.stop_if_dead()
        if may_fail and chaos.random.random() < chaos.failure_rate:
            if chaos.random.random() < 0.5:
                raise Unavailable("simulated: no connection")
            return True
        return False

    async def answer(self, lost: bool) -> None:
        """After an effect: take some time for the answer, which may be lost."""
        await asyncio.sleep(self._chaos.random.expovariate(1 / 0.005))  # noqa: TID251 - virtual time
        await self.stop_if_dead()
        if lost:
            raise Unavailable("simulated: the answer was lost")

    async def stop_if_dead(self) -> None:
        """A dead process waits for ever."""
        if not self.alive:
            await self._chaos.for_ever()


class Chaos:
    """The seed's decisions. `failure_rate` is that of a single step; the rates are 0 once the world is to settle."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.failure_rate = 0.05
        self.loss = self.random.choice([Loss.NOTHING, Loss.NOTHING, Loss.SOME, Loss.ALL])
        # Of a single copy of a message.
        self.loss_rate = 0.05 if self.loss is Loss.SOME else 0.0
        self._graves: list[asyncio.Future[None]] = []

    async def for_ever(self) -> None:
        """Wait for what never comes. Kept hold of: a task nobody refers to would be thrown away half-way."""
        self._graves.append(asyncio.get_running_loop().create_future())
        await self._graves[-1]
