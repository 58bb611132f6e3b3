"""The attribute names on our spans; the only place that spells them.

Source: https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/ (status: development)
"""

from typing import Final

MESSAGING_SYSTEM: Final = "messaging.system"
MESSAGING_OPERATION_NAME: Final = "messaging.operation.name"
MESSAGING_OPERATION_TYPE: Final = "messaging.operation.type"
MESSAGING_DESTINATION_NAME: Final = "messaging.destination.name"
MESSAGING_ROUTING_KEY: Final = "messaging.rabbitmq.destination.routing_key"
MESSAGING_MESSAGE_ID: Final = "messaging.message.id"
MESSAGING_BATCH_COUNT: Final = "messaging.batch.message_count"
ERROR_TYPE: Final = "error.type"

NOTIFICATION_ID: Final = "wavecom.notification.id"
EVENT_TYPE: Final = "wavecom.event.type"
CHANNEL: Final = "wavecom.channel"
PRIORITY: Final = "wavecom.priority"
ATTEMPT: Final = "wavecom.attempt"
PROVIDER: Final = "wavecom.provider"
OUTCOME: Final = "wavecom.outcome"
EVENT_COUNT: Final = "wavecom.event.count"
