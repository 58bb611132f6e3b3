"""Makes the server at `mongodb` a replica set of one, unless it is one; returns when it takes writes."""

import time

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

MEMBER = "mongodb:27017"
TRIES_S = 60

with MongoClient(f"mongodb://{MEMBER}/?directConnection=true", serverSelectionTimeoutMS=2000) as client:
    for _ in range(TRIES_S):
        try:
            hello = client.admin.command("hello")
            if hello.get("isWritablePrimary"):
                print(f"{hello['setName']} has a primary")
                break
            if "setName" not in hello:
                client.admin.command("replSetInitiate", {"_id": "rs0", "members": [{"_id": 0, "host": MEMBER}]})
        except OperationFailure as error:
            raise SystemExit(f"the server refused: {error.code} {error.details}") from error
        except PyMongoError as error:
            print(f"not yet: {type(error).__name__}")
        time.sleep(1)  # noqa: TID251 - no test and no service: a command that waits for a server
    else:
        raise SystemExit(f"{MEMBER} takes no writes after {TRIES_S} s")
