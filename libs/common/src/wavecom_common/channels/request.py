"""The fields every channel's request has."""

from typing import Annotated, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

from wavecom_common.channels.metadata import MetadataJson
from wavecom_common.events.channels import Priority

MAX_ATTEMPTS: Final = 10


def _whole(value: object) -> object:
    # JSON has one kind of number: 3.0 is as whole as 3, by JSON Schema too.
    return int(value) if isinstance(value, float) and value.is_integer() else value


# `subject` on a channel that has none.
NoSubject = Annotated[None, Field(description="Not for this channel: leave it out.")]


class ChannelRequest(BaseModel):
    """What a client may say on any channel; each channel's own narrows the last four fields.

    Nothing is coerced and unknown fields are errors. An optional field that is null counts as left out.
    """

    model_config = ConfigDict(strict=True, extra="forbid", alias_generator=to_camel)

    metadata: MetadataJson | None = None
    priority: Annotated[Priority | None, Field(description="How urgent it is; `medium` when left out.")] = None
    max_attempts: Annotated[
        Annotated[int, Field(ge=1, le=MAX_ATTEMPTS), BeforeValidator(_whole)] | None,
        Field(description="How many failed attempts end the notification; the server's setting when left out."),
    ] = None
    on_unknown: Annotated[
        Literal["resend", "fail"] | None,
        Field(
            description=(
                "What to do when a crash leaves unknown whether the provider took an attempt: `resend` (when left out) "
                "calls it again with the same dedup key, `fail` ends the notification."
            )
        ),
    ] = None
    channel: str
    recipient: str
    message: str
    subject: str | None = None
