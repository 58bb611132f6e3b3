"""The channels and priorities there are. A new channel is a line here, a rule in ingest-api and a sender's folder."""

from typing import Final, Literal, get_args

Channel = Literal["email", "sms", "push"]
Priority = Literal["high", "medium", "low"]

CHANNELS: Final[tuple[Channel, ...]] = get_args(Channel)
# Most urgent first.
PRIORITIES: Final[tuple[Priority, ...]] = get_args(Priority)
