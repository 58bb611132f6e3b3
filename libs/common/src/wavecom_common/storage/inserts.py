"""Inserting many documents of which some may be there already."""

from collections.abc import Sequence

from wavecom_common.storage.driver import BulkWriteError, Collection, Document
from wavecom_common.storage.errors import DUPLICATE_KEY, database_errors


async def insert_new(collection: Collection, documents: Sequence[Document]) -> set[int]:
    """Insert those documents whose `_id` is new; returns the places of the others in the list.

    Raises:
        Unavailable: some may have been inserted; call again.
        Unstorable: the database refuses one of the documents.
    """
    with database_errors():
        try:
            await collection.insert_many(documents, ordered=False)
        except BulkWriteError as error:
            failures = error.details["writeErrors"]
            if error.details["writeConcernErrors"] or any(failure["code"] != DUPLICATE_KEY for failure in failures):
                raise
            return {failure["index"] for failure in failures}
    return set()
