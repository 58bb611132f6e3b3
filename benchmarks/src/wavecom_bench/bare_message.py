"""The yardstick: what the client library and the broker need for one message, whoever uses them.

One publish with confirm to a quorum queue and one consume, acknowledged in batches of 50, with a body of 400 bytes.
Time on a shared machine drifts, processor time too: only figures of one run can be compared, as multiples of this.
"""

import asyncio
import time
from typing import Final

import aio_pika
from aio_pika.abc import AbstractIncomingMessage
from wavecom_common.messaging.connection import connected

from wavecom_bench.usage import Processes

MESSAGES: Final = 3000
_IN_FLIGHT: Final = 100
_ACK_EVERY: Final = 50
_QUEUE: Final = "benchmark.bare-message"


async def bare_message_ms(url: str, broker: Processes) -> float:
    """CPU milliseconds for one bare message: this process's, which publishes and consumes, and the broker's."""
    async with connected(url, "benchmark bare message") as connection:
        channel = await connection.channel(publisher_confirms=True)
        await channel.set_qos(4 * _ACK_EVERY)
        queue = await channel.declare_queue(_QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
        await queue.purge()
        try:
            await _pass_through(channel, queue, _ACK_EVERY * 4)  # warm
            before_s = _cpu_s(broker)
            await _pass_through(channel, queue, MESSAGES)
            return (_cpu_s(broker) - before_s) / MESSAGES * 1000
        finally:
            await queue.delete(if_unused=False, if_empty=False)


async def _pass_through(
    channel: aio_pika.abc.AbstractChannel, queue: aio_pika.abc.AbstractQueue, messages: int
) -> None:
    done = asyncio.Event()
    received = 0

    async def on_message(message: AbstractIncomingMessage) -> None:
        nonlocal received
        received += 1
        if received % _ACK_EVERY == 0 or received == messages:
            await message.ack(multiple=True)
        if received == messages:
            done.set()

    tag = await queue.consume(on_message)
    numbers = iter(range(messages))

    async def publish() -> None:
        for _ in numbers:
            body = aio_pika.Message(b"x" * 400, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
            await channel.default_exchange.publish(body, queue.name)

    await asyncio.gather(*[publish() for _ in range(_IN_FLIGHT)], done.wait())
    await queue.cancel(tag)


def _cpu_s(broker: Processes) -> float:
    return time.process_time() + broker.cpu_s()["rabbitmq"]
