"""The attribute names on our spans; the only place that spells them.

Sources: https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/ (status: development),
https://opentelemetry.io/docs/specs/semconv/http/http-spans/ (stable),
https://opentelemetry.io/docs/specs/semconv/db/database-spans/ (stable),
https://opentelemetry.io/docs/specs/semconv/rpc/grpc/ (release candidate)
"""

from typing import Final

MESSAGING_SYSTEM: Final = "messaging.system"
MESSAGING_OPERATION_NAME: Final = "messaging.operation.name"
MESSAGING_OPERATION_TYPE: Final = "messaging.operation.type"
MESSAGING_DESTINATION_NAME: Final = "messaging.destination.name"
MESSAGING_ROUTING_KEY: Final = "messaging.rabbitmq.destination.routing_key"
MESSAGING_MESSAGE_ID: Final = "messaging.message.id"
MESSAGING_BATCH_COUNT: Final = "messaging.batch.message_count"

HTTP_REQUEST_METHOD: Final = "http.request.method"
HTTP_RESPONSE_STATUS_CODE: Final = "http.response.status_code"
HTTP_ROUTE: Final = "http.route"
URL_SCHEME: Final = "url.scheme"

RPC_SYSTEM_NAME: Final = "rpc.system.name"
RPC_METHOD: Final = "rpc.method"
RPC_RESPONSE_STATUS_CODE: Final = "rpc.response.status_code"

DB_SYSTEM_NAME: Final = "db.system.name"
DB_NAMESPACE: Final = "db.namespace"
DB_COLLECTION_NAME: Final = "db.collection.name"
DB_OPERATION_NAME: Final = "db.operation.name"

SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
ERROR_TYPE: Final = "error.type"

NOTIFICATION_ID: Final = "wavecom.notification.id"
EVENT_TYPE: Final = "wavecom.event.type"
CHANNEL: Final = "wavecom.channel"
PRIORITY: Final = "wavecom.priority"
ATTEMPT: Final = "wavecom.attempt"
PROVIDER: Final = "wavecom.provider"
OUTCOME: Final = "wavecom.outcome"
EVENT_COUNT: Final = "wavecom.event.count"
