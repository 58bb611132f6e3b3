"""The declarations of the channels that are installed: loaded once, checked, in the order of their names."""

from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint
from typing import Final

from pydantic import ValidationError

from wavecom_common.channels.declaration import Channel
from wavecom_common.events.channels import INSTALLED, BrokenChannel

# Recipients of its sandbox that are tried.
_TRIED: Final = 3


@cache
def declared() -> Mapping[str, Channel]:
    """Every channel by its name.

    Raises:
        BrokenChannel: a declaration cannot be loaded, or contradicts itself.
    """
    return {point.name: load(point) for point in INSTALLED}


def load(point: EntryPoint) -> Channel:
    """The channel that an entry point names.

    Raises:
        BrokenChannel: it cannot be loaded, or contradicts itself.
    """
    try:
        channel = point.load()
    except Exception as error:  # noqa: BLE001 - a package's code may raise anything
        raise BrokenChannel(point, f"{point.value} cannot be loaded: {type(error).__name__}: {error}") from None
    if not isinstance(channel, Channel):
        raise BrokenChannel(point, f"{point.value} is a {type(channel).__name__}: make it a {Channel.__name__}")
    complaint = complaint_about(point.name, channel)
    if complaint is not None:
        raise BrokenChannel(point, f"{complaint} (in {point.value})")
    return channel


def complaint_about(name: str, channel: Channel) -> str | None:
    """What is wrong with the declaration of the channel of that name, and what mends it; None: nothing. Pure."""
    if channel.name != name:
        return f"its declaration is named {channel.name!r}: give it the entry point's name"
    if channel.request.model_json_schema()["properties"]["channel"].get("const") != name:
        return f"its request has to be declared with `channel: Literal[{name!r}]`"
    recipients = [channel.sandbox(number) for number in range(_TRIED)]
    if len(set(recipients)) != len(recipients):
        return "its sandbox gives two numbers the same recipient: put the number into it"
    for what, request in [
        ("example", channel.example),
        *(("sandbox", channel.sandbox_request(n)) for n in range(_TRIED)),
    ]:
        try:
            channel.request.model_validate(request)
        except ValidationError as error:
            [first, *_] = error.errors(include_input=False, include_url=False)
            return f"its request refuses its own {what}: {'.'.join(map(str, first['loc']))} {first['msg']}"
    return None
