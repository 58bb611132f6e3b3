"""What the driver raises, as our own errors: the one place that tells "not now" from "never"."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from wavecom_common.kernel.errors import Unavailable, Unstorable, WavecomError
from wavecom_common.storage.driver import BSONError, BulkWriteError, OperationFailure, PyMongoError

DUPLICATE_KEY: Final = 11000

# Codes with which the server refuses a value, whenever it is asked.
# Source: https://github.com/mongodb/mongo/blob/r6.0.5/src/mongo/base/error_codes.yml
_REFUSED_VALUES: Final = frozenset(
    {
        2,  # BadValue
        9,  # FailedToParse
        14,  # TypeMismatch
        15,  # Overflow: nested too deeply
        22,  # InvalidBSON
        52,  # DollarPrefixedFieldName
        57,  # DottedFieldName
        10334,  # BSONObjectTooLarge
        17419,  # the document would become too large
        17420,  # likewise, of an upsert
    }
)
# Codes of a single write in a bulk that say nothing about its value.
_TRANSIENT_WRITES: Final = frozenset(
    {
        13,  # Unauthorized
        24,  # LockTimeout
        46,  # LockBusy
        50,  # MaxTimeMSExpired
        91,  # ShutdownInProgress
        112,  # WriteConflict
        189,  # PrimarySteppedDown
        262,  # ExceededTimeLimit
        10107,  # NotWritablePrimary
        11600,  # InterruptedAtShutdown
        11602,  # InterruptedDueToReplStateChange
        14031,  # OutOfDiskSpace
    }
)


@contextmanager
def database_errors() -> Iterator[None]:
    """Turn what the driver raises inside into our own errors.

    The driver's error is not kept as the cause: its text may hold documents, and documents hold addresses.

    Raises:
        Unstorable: the database will never take the value. Not retryable.
        Unavailable: anything else, wrong rights and full disks included: retried until somebody mends it.
    """
    try:
        yield
    except (PyMongoError, BSONError, OverflowError) as error:
        raise translated(error) from None


def translated(error: Exception) -> WavecomError:
    """Our own error for one of the driver's."""
    code = getattr(error, "code", None)
    if isinstance(error, BulkWriteError):
        # The first of the writes that failed stands for all: the bulk's own code only says that some did.
        writes = error.details["writeErrors"]
        code = writes[0]["code"] if writes else code
        refused = bool(writes) and not any(write["code"] in _TRANSIENT_WRITES for write in writes)
    elif isinstance(error, OperationFailure):
        refused = code in _REFUSED_VALUES
    else:
        # PyMongo's DocumentTooLarge is a BSON error, too.
        refused = isinstance(error, BSONError | OverflowError)
    told = f"database: {type(error).__name__}" + (f" {code}" if code is not None else "")
    return Unstorable(told) if refused else Unavailable(told)
