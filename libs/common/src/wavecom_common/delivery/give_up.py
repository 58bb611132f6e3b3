"""Ending an attempt whose message was tried too often."""

from wavecom_proto.v1.events_pb2 import Event

from wavecom_common.delivery.claims import LookAgain, Repeat, Resume, attempt_key, decide
from wavecom_common.delivery.ledger import Ledger
from wavecom_common.delivery.record import RecordStage
from wavecom_common.events import types
from wavecom_common.messaging.outcome import DeadLetter, Outcome, Retry


class GiveUpStage:
    """Decides by the ledger, so that the notification has one end: an outcome that is stored counts."""

    def __init__(self, ledger: Ledger, record: RecordStage, look_again: Retry) -> None:
        self._ledger = ledger
        self._record = record
        self._look_again = look_again

    async def give_up(self, event: Event, reason: str) -> Outcome:
        """End the attempt, unless another sender is at it; see `messaging.incoming.GiveUp`.

        Raises:
            Unavailable: it could not be claimed, stored or published. Call again.
        """
        if event.type != types.DISPATCHED:
            return DeadLetter(reason)
        key = attempt_key(event)
        try:
            return await self._give_up(key, event, reason)
        finally:
            self._ledger.release(key)

    async def _give_up(self, key: str, event: Event, reason: str) -> Outcome:
        found = await self._ledger.claim(key)
        match decide(found, owner=self._ledger.owner, now_ms=self._ledger.now_ms()):
            case Repeat(outcome, ended_at_ms):
                return await self._record.repeat(event, outcome, ended_at_ms)
            case LookAgain():
                return self._look_again
            case Resume() if found is not None and not await self._ledger.take_over(key, found):
                return self._look_again
            case Resume():
                # The call of the sender that died may have taken effect, and this is the last chance to say so.
                await self._record.interrupted(event, unknown=True)
        await self._record.give_up(event, f"dead-lettered: {reason}")
        return DeadLetter(reason, fails=False)
