"""What the driver raises, as our own errors: the one place that tells "not now" from "never"."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from wavecom_common.kernel.errors import Unavailable, Unstorable, WavecomError
from wavecom_common.storage.driver import BSONError, BulkWriteError, OperationFailure, PyMongoError

DUPLICATE_KEY: Final = 11000

# In the driver's text, which is not repeated: it may hold documents.
_DISTRUSTED: Final = "CERTIFICATE_VERIFY_FAILED"

# Codes with which the server refuses a value, whenever it is asked. Any other is taken for something that passes: a
# value wrongly repeated for ever is seen in the log, one wrongly given up is lost.
# Source: https://github.com/mongodb/mongo/blob/r6.0.5/src/mongo/base/error_codes.yml
_REFUSED_VALUES: Final = frozenset(
    {
        2,  # BadValue
        9,  # FailedToParse
        14,  # TypeMismatch
        15,  # Overflow: nested too deeply
        22,  # InvalidBSON
        52,  # DollarPrefixedFieldName
        56,  # EmptyFieldName
        57,  # DottedFieldName
        121,  # DocumentValidationFailure
        10334,  # BSONObjectTooLarge
        17419,  # the document would become too large
        17420,  # likewise, of an upsert
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
        # The bulk's own code only says that some writes failed; one that may pass stands for all.
        codes = [write["code"] for write in error.details["writeErrors"] if write["code"] != DUPLICATE_KEY]
        code = next((one for one in codes if one not in _REFUSED_VALUES), codes[0] if codes else code)
        refused = bool(codes) and _REFUSED_VALUES.issuperset(codes)
    elif isinstance(error, OperationFailure):
        refused = code in _REFUSED_VALUES
    else:
        # PyMongo's DocumentTooLarge is a BSON error, too.
        refused = isinstance(error, BSONError | OverflowError)
    told = f"database: {type(error).__name__}" + (f" {code}" if code is not None else "")
    if _DISTRUSTED in str(error):
        told += ", its certificate is not trusted: see WAVECOM_TLS_CA_FILE"
    return Unstorable(told) if refused else Unavailable(told)
