"""A consumer that the word "poison" kills, and reading a body of `KILLING_TYPE`.

`python poisoned_consumer.py BROKER_URL HANDLED`

The consumer is the real one; its handler appends the ids of what it handled to the file HANDLED. It is impatient, so
that a test need not let it die two dozen times.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from wavecom_common.events import codec, routing
from wavecom_common.messaging import handling
from wavecom_common.messaging.consumer import Consumer
from wavecom_common.messaging.incoming import Incoming
from wavecom_common.messaging.outcome import ACK, Outcome
from wavecom_common.messaging.publisher import EventPublisher
from wavecom_common.messaging.redelivery import Limits
from wavecom_proto.v1.events_pb2 import Event

KILLING_TYPE: Final = "application/x-killing"


async def consume(url: str, record: Path) -> None:
    """Until it is killed or told to stop."""

    async def handle(incoming: Incoming) -> Sequence[Outcome]:
        if any(event.content.message == "poison" for event in incoming.events):
            os.kill(os.getpid(), signal.SIGKILL)
        with record.open("a") as handled:
            handled.writelines(f"{event.event_id}\n" for event in incoming.events)
        return [ACK] * len(incoming.events)

    publisher = EventPublisher(url, name="poisoned", required_queues=[])
    consumer = Consumer(
        url,
        name="poisoned",
        queues=[routing.DISPATCHER_QUEUE],
        prefetch=10,
        handler=handle,
        publisher=publisher,
        retry_delay_ms=1000,
    )
    await publisher.start()
    await consumer.start()
    await asyncio.Event().wait()


def read(body: bytes, *, content_type: str | None, content_encoding: str | None) -> list[Event]:
    """In place of `codec.decode`: as if its bounds had a hole."""
    if content_type == KILLING_TYPE:
        os.kill(os.getpid(), signal.SIGKILL)
    return decode(body, content_type=content_type, content_encoding=content_encoding)


if __name__ == "__main__":
    decode, codec.decode = codec.decode, read
    handling.LIMITS = Limits(redeliveries=1, trials=2, splits=1)
    asyncio.run(consume(sys.argv[1], Path(sys.argv[2])))
