"""Push: a device token as the provider gave it to the application."""

from typing import Annotated, Final, Literal

from wavecom_common.channels.declaration import Channel, Copy, Cost
from wavecom_common.channels.request import ChannelRequest, NoSubject
from wavecom_common.channels.text import matching, message_of

# Both large providers take payloads of 4,096 bytes; what is not the message has to fit, too.
MAX_MESSAGE_BYTES: Final = 4_000
MIN_TOKEN_CHARACTERS: Final = 8
MAX_TOKEN_CHARACTERS: Final = 4_096

DeviceToken = Annotated[
    str,
    matching(
        rf"[A-Za-z0-9_.:%=/+\-]{{{MIN_TOKEN_CHARACTERS},{MAX_TOKEN_CHARACTERS}}}",
        max_length=MAX_TOKEN_CHARACTERS,
        must=(
            f"must be a device token: {MIN_TOKEN_CHARACTERS} to {MAX_TOKEN_CHARACTERS:,} characters, "
            "letters, digits and any of _ . : % = / + -"
        ),
        description=(
            f"One device token as the provider gave it: {MIN_TOKEN_CHARACTERS} to {MAX_TOKEN_CHARACTERS:,} characters."
        ),
        example="fcm-token-4f0c2d7e9a1b",
    ),
]


class PushNotification(ChannelRequest):
    """A notification to one device."""

    channel: Literal["push"]
    recipient: DeviceToken
    message: Annotated[str, message_of(utf8_bytes=MAX_MESSAGE_BYTES)]
    subject: NoSubject = None


CHANNEL: Final = Channel(
    name="push",
    request=PushNotification,
    example={
        "recipient": "fcm-token-4f0c2d7e9a1b",
        "message": "Your order has been shipped!",
        "channel": "push",
        "metadata": {"orderId": "12345"},
    },
    sandbox="device-token-{:07}".format,
    settings="push_sender.settings:PushSenderSettings",
    cost=Cost(single_ms=0.285, batch_ms=0.132, call_s=0.1, copy=Copy(per_s=1_663, cpu_ms=0.19, memory_mb=80)),
    messages_per_copy=110,
)
