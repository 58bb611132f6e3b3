"""The connection says truly how it is, and its errors are ours."""

from typing import get_args

import pytest
import structlog
from pymongo import errors as driver
from wavecom_common.kernel.errors import ConfigurationError, Unavailable, Unstorable
from wavecom_common.storage import indexes, names
from wavecom_common.storage.client import Database, WriteConcern
from wavecom_common.storage.errors import database_errors, translated
from wavecom_common.testing.waiting import eventually


@pytest.mark.connected
async def test_it_is_ready_once_a_primary_answered(mongodb_url: str, database_name: str) -> None:
    database = Database(mongodb_url, database_name)
    assert database.ready() == "database: not reached yet"

    await database.start()

    await eventually(lambda: database.ready() is None)
    await database.close()


async def test_it_is_not_ready_and_calls_fail_in_time_while_the_server_is_away() -> None:
    database = Database("mongodb://127.0.0.1:1/?directConnection=true", "none", operation_timeout_s=0.2)
    await database.start()

    with pytest.raises(Unavailable), database_errors():
        await database.collection("things").find_one({})

    await eventually(lambda: database.ready() == "database: ServerSelectionTimeoutError")
    await database.close()


@pytest.mark.connected
async def test_a_write_concern_reaches_the_driver_and_a_weaker_one_is_told_at_start(
    mongodb_url: str, database_name: str
) -> None:
    used = {}
    with structlog.testing.capture_logs() as told:
        for write_concern in get_args(WriteConcern):
            # What the URL says does not count.
            url = f"{mongodb_url}&w=0"
            database = Database(url, database_name, write_concern=write_concern)
            await database.start()
            used[write_concern] = database.collection("things").write_concern.document
            await database.close()

    assert used == {
        "majority": {"w": "majority", "j": True},
        "journaled": {"w": 1, "j": True},
        "memory": {"w": 1, "j": False},
    }
    assert [(line["event"], line["write_concern"], line["log_level"]) for line in told] == [
        ("write_concern_weakened", "journaled", "warning"),
        ("write_concern_weakened", "memory", "warning"),
    ]


async def test_reads_that_decide_ask_the_primary_for_what_a_majority_has_whatever_the_url_says() -> None:
    url = "mongodb://127.0.0.1:1/?replicaSet=rs0&readPreference=secondary&readConcernLevel=local"
    deciding, answering = Database(url, "none"), Database(url, "none", only_answers=True)
    decides = [deciding.collection("a"), deciding.collection("a", decides=False), answering.collection("a")]
    assert [(one.read_preference.name, one.read_concern.level) for one in decides] == [("Primary", "majority")] * 3
    assert answering.collection("a", decides=False).read_preference.name == "Secondary"
    await deciding.close()
    await answering.close()


def test_a_wrong_url_is_named_without_its_password() -> None:
    with pytest.raises(ConfigurationError) as error:
        Database("mongodb://user:secret@:x/", "none")

    assert "WAVECOM_MONGODB_URL" in str(error.value)
    assert "secret" not in str(error.value)


@pytest.mark.connected
async def test_applying_the_indexes_again_changes_nothing(database: Database) -> None:
    before = await _indexes(database)

    await indexes.apply(database)

    assert await _indexes(database) == before
    assert before[names.NOTIFICATIONS].keys() == {
        "_id_",
        "recipient_1",
        "dueAt_1__id_1",
        "head.attempt_1_dueAt_1__id_1",
        "tenant_1_createdAt_-1__id_-1",
        "tenant_1_channel_1_head.status_1_createdAt_-1__id_-1",
    }
    assert before[names.DELIVERIES]["at_1"]["expireAfterSeconds"] == 14 * 24 * 3600


@pytest.mark.parametrize(
    "error",
    [
        driver.AutoReconnect(),
        driver.ServerSelectionTimeoutError(),
        driver.NetworkTimeout(),
        driver.NotPrimaryError(),
        driver.WTimeoutError("no majority", 64),
        driver.ExecutionTimeout("too slow", 50),
        driver.WaitQueueTimeoutError(),
        driver.OperationFailure("not authorised", 13),
        driver.BulkWriteError({"writeErrors": [], "writeConcernErrors": [{"code": 64}]}),
        driver.BulkWriteError({"writeErrors": [{"code": 112, "index": 0}], "writeConcernErrors": []}),
        driver.BulkWriteError({"writeErrors": [{"code": 2}, {"code": 14031}], "writeConcernErrors": []}),
        # TemporarilyUnavailable, and one that nobody has heard of.
        driver.BulkWriteError({"writeErrors": [{"code": 365}, {"code": 11000}], "writeConcernErrors": []}),
        driver.BulkWriteError({"writeErrors": [{"code": 999_999}], "writeConcernErrors": []}),
    ],
    ids=repr,
)
def test_what_time_or_an_operator_heals_is_unavailable(error: Exception) -> None:
    assert type(translated(error)) is Unavailable


@pytest.mark.parametrize(
    "error",
    [
        driver.DocumentTooLarge("the secret"),
        driver.OperationFailure("the secret is nested too deeply", 15),
        driver.BulkWriteError({"writeErrors": [{"code": 2, "op": "the secret"}], "writeConcernErrors": []}),
        OverflowError("the secret is no 64-bit integer"),
    ],
    ids=repr,
)
def test_what_no_repeat_heals_is_unstorable_and_told_without_content(error: Exception) -> None:
    ours = translated(error)

    assert type(ours) is Unstorable
    assert "secret" not in str(ours)


async def _indexes(database: Database) -> dict[str, dict[str, dict[str, object]]]:
    return {name: await database.collection(name).index_information() for name in indexes.INDEXES}
