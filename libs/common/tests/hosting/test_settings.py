"""Settings are read from the environment, or refused in one line."""

import pytest
from wavecom_common.hosting.database import database_of
from wavecom_common.hosting.settings import Settings
from wavecom_common.kernel.errors import ConfigurationError


async def test_the_write_concern_is_the_safe_one_unless_the_environment_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("WAVECOM_MONGODB_WRITE_CONCERN", raising=False)
    used = []
    for value in (None, "journaled"):
        if value is not None:
            monkeypatch.setenv("WAVECOM_MONGODB_WRITE_CONCERN", value)
        database = database_of(Settings.load())
        used.append(database.collection("things").write_concern.document)
        await database.close()

    assert used == [{"w": "majority", "j": True}, {"w": 1, "j": True}]


@pytest.mark.parametrize("value", ["0", "none", "Majority", ""])
def test_a_write_concern_that_is_none_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("WAVECOM_MONGODB_WRITE_CONCERN", value)

    with pytest.raises(ConfigurationError) as error:
        Settings.load()

    assert str(error.value) == "WAVECOM_MONGODB_WRITE_CONCERN: Input should be 'majority', 'journaled' or 'memory'"
