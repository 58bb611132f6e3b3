"""SMS: a phone number in E.164 with an assigned country code."""

from collections import defaultdict
from typing import Annotated, Final, Literal

from phonenumbers import COUNTRY_CODE_TO_REGION_CODE
from wavecom_common.channels.declaration import Channel, Copy, Cost
from wavecom_common.channels.request import ChannelRequest, NoSubject
from wavecom_common.channels.text import matching, message_of

MAX_MESSAGE_CHARACTERS: Final = 1_600
# The plan allows 15 digits with the country code; the shortest numbers in use have 7.
MIN_DIGITS: Final = 7
MAX_DIGITS: Final = 15


def _number_pattern() -> str:
    codes_by_length: defaultdict[int, list[str]] = defaultdict(list)
    for code in sorted(map(str, COUNTRY_CODE_TO_REGION_CODE)):
        codes_by_length[len(code)].append(code)
    numbers = (
        rf"(?:{'|'.join(codes)})[0-9]{{{MIN_DIGITS - length},{MAX_DIGITS - length}}}"
        for length, codes in sorted(codes_by_length.items())
    )
    return rf"\+(?:{'|'.join(numbers)})"


# Source: ITU-T E.164, the country codes from the metadata of phonenumbers
NUMBER_PATTERN: Final = _number_pattern()

PhoneNumber = Annotated[
    str,
    matching(
        NUMBER_PATTERN,
        max_length=MAX_DIGITS + 1,
        must="must be a phone number in E.164 form such as +2348012345678: +, an assigned country code, the number",
        description=(
            f"One phone number in E.164 form: `+`, an assigned country code, the number; {MIN_DIGITS} to {MAX_DIGITS} "
            "digits, no spaces or punctuation."
        ),
        example="+2348012345678",
    ),
]


class SmsNotification(ChannelRequest):
    """A notification by SMS."""

    channel: Literal["sms"]
    recipient: PhoneNumber
    message: Annotated[str, message_of(characters=MAX_MESSAGE_CHARACTERS)]
    subject: NoSubject = None


CHANNEL: Final = Channel(
    name="sms",
    request=SmsNotification,
    example={"recipient": "+2348012345678", "message": "Your code is 1234", "channel": "sms", "priority": "high"},
    # 555 is an area code of nobody.
    sandbox="+1555{:07}".format,
    settings="sms_sender.settings:SmsSenderSettings",
    cost=Cost(single_ms=0.282, batch_ms=0.129, call_s=0.2, copy=Copy(per_s=878, cpu_ms=0.29, memory_mb=84)),
    messages_per_copy=85,
)
