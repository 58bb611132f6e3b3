"""What a client may ask of each channel. A new channel is one more module here, and one more line in the union below.

The same declarations validate requests and describe them in the OpenAPI document, so that the two cannot differ.
"""

from typing import Annotated

from pydantic import Field, TypeAdapter

from ingest_api.channels.email import EmailNotification
from ingest_api.channels.push import PushNotification
from ingest_api.channels.sms import SmsNotification

NotificationRequest = Annotated[
    EmailNotification | SmsNotification | PushNotification,
    Field(discriminator="channel"),
]

NOTIFICATION_REQUEST: TypeAdapter[NotificationRequest] = TypeAdapter(NotificationRequest)

__all__ = ["NOTIFICATION_REQUEST", "EmailNotification", "NotificationRequest", "PushNotification", "SmsNotification"]
