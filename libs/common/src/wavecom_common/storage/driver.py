"""The MongoDB driver, by the few names this package uses.

Motor is deprecated by its maker in favour of PyMongo's own async client. The two agree on all that is used here except
how a client is closed, so the swap is made in this file and in `client.py`.
"""

from typing import Any, TypeAlias

import pymongo
from bson import DBRef, ObjectId, encode
from bson.datetime_ms import DatetimeMS
from bson.errors import BSONError
from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorCollection
from pymongo import ASCENDING, DESCENDING, IndexModel, ReadPreference, UpdateOne
from pymongo.errors import BulkWriteError, DuplicateKeyError, OperationFailure, PyMongoError
from pymongo.read_concern import ReadConcern

Document: TypeAlias = dict[str, Any]
Client: TypeAlias = AsyncIOMotorClient[Document]
Collection: TypeAlias = AsyncIOMotorCollection[Document]

operation_timeout = pymongo.timeout

__all__ = [
    "ASCENDING",
    "DESCENDING",
    "BSONError",
    "BulkWriteError",
    "Client",
    "Collection",
    "DBRef",
    "DatetimeMS",
    "Document",
    "DuplicateKeyError",
    "IndexModel",
    "ObjectId",
    "OperationFailure",
    "PyMongoError",
    "ReadConcern",
    "ReadPreference",
    "UpdateOne",
    "encode",
    "operation_timeout",
]
