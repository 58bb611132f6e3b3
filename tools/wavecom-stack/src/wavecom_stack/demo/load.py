"""What the demo sends. Pure: the same seed gives the same notifications."""

import random
from collections.abc import Sequence
from itertools import cycle, islice
from typing import Any, Final

from wavecom_common.channels.declaration import Channel
from wavecom_common.channels.registry import declared
from wavecom_common.events.channels import PRIORITIES

_NAMES: Final = ("Ada", "Chinwe", "José", "Mehmet", "Noor", "Søren", "Wei", "Zoë")
_TEXTS: Final = (
    ("Your order has been shipped", "Hello {name}, order {number} is on its way and should arrive on Thursday."),
    ("Payment received", "Hello {name}, we received your payment of € {number}.00. Thank you."),
    ("Your sign-in code", "Hello {name}, your code is {number}. It is valid for ten minutes."),
    ("Appointment tomorrow", "Hello {name}, we expect you tomorrow at 10:30. Your reference is {number}."),
)


def mixed_load(count: int, seed: int) -> Sequence[dict[str, Any]]:
    """Request bodies for `count` notifications over all channels and priorities."""
    chance = random.Random(seed)
    return [_notification(channel, chance) for channel in islice(cycle(declared().values()), count)]


def _notification(channel: Channel, chance: random.Random) -> dict[str, Any]:
    name = chance.choice(_NAMES)
    subject, text = chance.choice(_TEXTS)
    number = chance.randrange(100_000, 1_000_000)
    body = {
        "channel": channel.name,
        "recipient": channel.sandbox(chance.randrange(1_000_000)),
        "message": text.format(name=name, number=number),
        "priority": chance.choice(PRIORITIES),
        "metadata": {"customer": name, "reference": str(number)},
    }
    return body | ({"subject": subject} if channel.has_subject else {})
