"""Times as the API writes them."""

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ingest_api.times import iso


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (1733913000000, "2024-12-11T10:30:00.000Z"),
        (1733913005500, "2024-12-11T10:30:05.500Z"),
        (1733913000007, "2024-12-11T10:30:00.007Z"),
        (0, "1970-01-01T00:00:00.000Z"),
    ],
)
def test_a_time_has_milliseconds_and_a_z(ms, text):
    assert iso(ms) == text


@given(ms=st.integers(0, 4_102_444_800_000))
def test_a_time_reads_back_as_it_was(ms):
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", iso(ms))
    read = datetime.fromisoformat(iso(ms)) - datetime(1970, 1, 1, tzinfo=UTC)
    assert round(read.total_seconds() * 1000) == ms
