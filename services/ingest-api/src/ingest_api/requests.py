"""What a client may ask for: the request of every channel there is, as its folder declares it.

The same declarations validate requests and describe them in the OpenAPI document, so that the two cannot differ.
"""

from typing import Annotated

from pydantic import GetCoreSchemaHandler, TypeAdapter
from pydantic_core import CoreSchema, core_schema
from wavecom_common.channels.registry import declared
from wavecom_common.channels.request import ChannelRequest


class _OfItsChannel:
    """Annotates `ChannelRequest`: validated by the model of the channel that it names."""

    def __get_pydantic_core_schema__(self, source: type, handler: GetCoreSchemaHandler) -> CoreSchema:
        models = {name: handler(channel.request) for name, channel in declared().items()}
        return core_schema.tagged_union_schema(models, discriminator="channel")


NotificationRequest = Annotated[ChannelRequest, _OfItsChannel()]

NOTIFICATION_REQUEST: TypeAdapter[ChannelRequest] = TypeAdapter(NotificationRequest)
