"""The requests of all channels together."""

import re

from ingest_api.requests import NOTIFICATION_REQUEST


def test_the_published_patterns_are_read_alike_everywhere():
    """Only what ECMA 262, Python and Rust have in common: no \\p, no possessive or named groups, no \\Z."""
    document = str(NOTIFICATION_REQUEST.json_schema())

    assert not re.search(r"\\\\[pPZAz]|\(\?<|\(\?P", document)
