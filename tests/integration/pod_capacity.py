"""What one copy of each consumer does: `python tests/integration/pod_capacity.py`, with a broker and a database given.

Each process in turn finds its queue filled with messages of as many events as one may carry, and is watched until it is
done with them: how long it takes, and how much processor time. The second tells what a pod limited to one processor
does, also where this machine is busy with other things; a provider's answers take as long as the channel's simulation
says. WAVECOM_RABBITMQ_URL and WAVECOM_MONGODB_URL say where the servers are; the virtual host's queues are emptied.
"""

import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence

import httpx
import psutil
from wavecom_common.events import routing, types
from wavecom_common.events.channels import CHANNELS
from wavecom_common.hosting.settings import Settings
from wavecom_common.messaging import topology
from wavecom_common.messaging.connection import connected
from wavecom_common.messaging.publisher import EventPublisher
from wavecom_common.testing.builders import a_dispatch, a_request
from wavecom_common.testing.waiting import eventually
from wavecom_proto.v1.events_pb2 import Event
from wavecom_stack.ports import LOOPBACK, free_ports

# The senders wait for a provider; the others write thousands at a time, of which the first are not counted.
MESSAGES = 150
MESSAGES_OF_THE_QUICK = 1_000
PROVIDER = "simulated"
RECIPIENTS = {"email": "user@example.com", "sms": "+4915112345678", "push": "a" * 64}
# A sender counts what it sent; the dispatcher what it published; the projector what it wrote.
COUNTED = {
    "dispatcher": re.compile(r'wavecom_batch_size_sum\{.*what="publish"'),
    "status-projector": re.compile(r'wavecom_batch_size_sum\{.*what="projection"'),
}
SENT = re.compile(r"wavecom_notifications_sent_total\{")
CASES = {
    "dispatcher": (["dispatcher"], routing.DISPATCHER_QUEUE),
    "status-projector": (["status_projector", "projector"], routing.PROJECTOR_QUEUE),
    **{f"{channel}-sender": ([f"{channel}_sender"], routing.sender_queue(channel, "medium")) for channel in CHANNELS},
}


def events_for(name: str, count: int) -> Sequence[Event]:
    """What the process gets to do."""
    channel = name.removesuffix("-sender") if name.endswith("-sender") else "email"
    now_ms = round(time.time() * 1000)
    requests = [a_request(channel=channel, recipient=RECIPIENTS[channel], now_ms=now_ms) for _ in range(count)]
    if name.endswith("-sender"):
        return [a_dispatch(request=request, now_ms=now_ms) for request in requests]
    if name == "dispatcher":
        return requests
    # A notification has four events when all goes well, of which the first carries the content.
    stories = [
        (
            request,
            dispatch := a_dispatch(request=request, now_ms=now_ms),
            types.started(dispatch, provider=PROVIDER, now_ms=now_ms),
        )
        for request in requests[: count // 4]
    ]
    sent = [types.sent(story[1], provider=PROVIDER, provider_message_id="x", now_ms=now_ms + 1) for story in stories]
    return [event for story, end in zip(stories, sent, strict=True) for event in (*story, end)]


async def measure(name: str, settings: Settings) -> None:
    """Fill, start, wait, print."""
    arguments, queue = CASES[name]
    messages = MESSAGES_OF_THE_QUICK if name in COUNTED else MESSAGES
    events = events_for(name, messages * settings.batch_max_events)
    await fill(queue, events, settings)
    admin = f"http://{LOOPBACK}:{next(free_ports())}"
    variables = {"WAVECOM_ADMIN_PORT": admin.rpartition(":")[2], "WAVECOM_SIMULATED_SUCCESS_RATE": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments], env={**os.environ, **variables}, stdout=subprocess.DEVNULL
    )
    try:
        async with httpx.AsyncClient() as client:
            await eventually(lambda: done(client, admin, name), timeout_s=60)
            watched, began_s = psutil.Process(process.pid), time.monotonic()
            used_s, first = sum(watched.cpu_times()[:2]), await done(client, admin, name)

            async def all_done() -> bool:
                return await done(client, admin, name) >= len(events)

            await eventually(all_done, timeout_s=300)
        took_s, used_s = time.monotonic() - began_s, sum(watched.cpu_times()[:2]) - used_s
        count, memory_mb = len(events) - first, watched.memory_info().rss / 1e6
    finally:
        process.terminate()
        process.wait()
    cpu_ms = used_s * 1000 / count
    here, alone = f"{count / took_s:.0f}/s here", f"{1000 / cpu_ms:.0f}/s on one CPU"
    print(f"{name:<17} {here:>12} {cpu_ms:7.3f} ms CPU each {alone:>17} {memory_mb:5.0f} MB")


async def fill(queue: str, events: Sequence[Event], settings: Settings) -> None:
    """Empty every queue, then put the events into this one."""
    url = settings.rabbitmq_url.get_secret_value()
    async with connected(url, "capacity") as connection:
        amqp_channel = await connection.channel()
        for planned in topology.plan(settings.broker_delays_ms).queues:
            await (await amqp_channel.get_queue(planned.name, ensure=False)).purge()
    publisher = EventPublisher(url, name="capacity", required_queues=[])
    await publisher.start()
    for start in range(0, len(events), settings.batch_max_events):
        message = publisher.message(events[start : start + settings.batch_max_events])
        await publisher.publish_message(routing.EVENTS_EXCHANGE, routing.direct_key(queue), message)
    await publisher.close()


async def done(client: httpx.AsyncClient, admin: str, name: str) -> float:
    """How many events the process is done with, as it counts them itself."""
    counted = COUNTED.get(name, SENT)
    try:
        figures = (await client.get(f"{admin}/metrics")).text
    except httpx.TransportError:
        return 0
    return sum(float(line.split()[-1]) for line in figures.splitlines() if counted.match(line))


async def main(names: Sequence[str]) -> None:
    """Measure those named, or all."""
    settings = Settings.load()
    await topology.apply(settings.rabbitmq_url.get_secret_value(), topology.plan(settings.broker_delays_ms), settle_s=0)
    for name in names or CASES:
        await measure(name, settings)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
