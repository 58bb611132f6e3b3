"""The bodies of successful answers. They write the answers and describe them in the OpenAPI document.

What the query service says is not checked again: a status or channel of its later version is passed on, not a 500.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SkipValidation
from pydantic.alias_generators import to_camel
from wavecom_common.events.channels import ChannelName, Priority
from wavecom_common.events.listings import MAX_COUNTED

from ingest_api.errors import ErrorAnswer, FieldError

Status = Literal["pending", "queued", "processing", "sent", "failed"]
Time = Annotated[
    SkipValidation[str],
    Field(
        pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$",
        description="UTC, with milliseconds.",
        examples=["2024-12-11T10:30:00.000Z"],
    ),
]
Id = Annotated[str, Field(description="24 hexadecimal digits.", examples=["675a1b2c3d4e5f6071829304"])]


class _Answer(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class Created(_Answer):
    """What was accepted."""

    id: Id
    recipient: str
    channel: SkipValidation[ChannelName]
    status: Literal["queued"]
    created_at: Time


class CreatedAnswer(_Answer):
    """The answer to a notification that was accepted: it is safe with the broker and will be delivered."""

    status: Literal["success"]
    message: Literal["Notification created and queued for processing"]
    data: Created


class BatchItemAccepted(_Answer):
    """A notification of a batch that was accepted."""

    index: int = Field(description="Its place in the batch, from 0.")
    status: Literal["success"]
    data: Created


class BatchItemRefused(_Answer):
    """A notification of a batch that was refused, as it would be alone."""

    index: int = Field(description="Its place in the batch, from 0.")
    status: Literal["error"]
    message: str
    errors: list[FieldError] | None = Field(default=None, description="One entry per field that is at fault.")


class BatchData(_Answer):
    """What became of a batch."""

    accepted: int
    rejected: int
    results: list[Annotated[BatchItemAccepted | BatchItemRefused, Field(discriminator="status")]] = Field(
        description="One per notification, in the batch's order."
    )


class BatchAnswer(_Answer):
    """The answer to a batch of which at least one notification was accepted."""

    status: Literal["success"]
    message: str
    data: BatchData


class BatchErrorAnswer(ErrorAnswer):
    """The answer to a batch of which nothing was accepted."""

    data: BatchData | None = Field(default=None, description="There when every notification was at fault.")


class Summary(_Answer):
    """A notification in a list."""

    id: Id
    recipient: str
    channel: SkipValidation[ChannelName]
    status: SkipValidation[Status]
    attempts: int
    created_at: Time
    sent_at: Time | None
    failed_at: Time | None


class Details(_Answer):
    """All there is about a notification."""

    id: Id
    recipient: str
    message: str
    channel: SkipValidation[ChannelName]
    subject: str | None
    status: SkipValidation[Status]
    attempts: int
    max_attempts: int
    last_attempt_at: Time | None
    sent_at: Time | None
    failed_at: Time | None
    error: str | None
    metadata: dict[str, Any] | None
    created_at: Time
    updated_at: Time
    priority: SkipValidation[Priority]


class DetailsAnswer(_Answer):
    """One notification."""

    status: Literal["success"]
    data: Details


class Pagination(_Answer):
    """Where a page is among all."""

    total: int = Field(description=f"How many there are, counted up to {MAX_COUNTED:,}.")
    page: int | None = Field(description="Null on a page that was asked for by cursor.")
    limit: int
    total_pages: int = Field(description="How many pages `total` makes: those that `page` reaches.")
    total_is_capped: bool = Field(description="There are more than `total`.")
    next_cursor: str | None = Field(description="The `cursor` of the next page; null when this is the last.")


class Page(_Answer):
    """Notifications, newest first."""

    notifications: list[Summary]
    pagination: Pagination


class PageAnswer(_Answer):
    """One page of notifications."""

    status: Literal["success"]
    data: Page


class TimelineEvent(_Answer):
    """One thing that happened; which of the optional fields are there depends on `type`."""

    id: str
    type: str
    attempt: int = Field(description="The attempt it belongs to, from 1; 0 for the request itself.")
    occurred_at: Time
    priority: SkipValidation[Priority] | None = None
    provider: str | None = None
    provider_message_id: str | None = None
    error: str | None = None
    reason: str | None = None
    next_attempt: int | None = None
    delay_ms: int | None = None
    action: str | None = None


class TimelineData(_Answer):
    """Everything that happened to a notification, oldest first."""

    id: Id
    events: list[TimelineEvent]


class TimelineAnswer(_Answer):
    """One notification's timeline."""

    status: Literal["success"]
    data: TimelineData


class HealthAnswer(_Answer):
    """The API server runs."""

    status: Literal["success"]
    message: Literal["WaveCom Notification System is running"]
    timestamp: Time
