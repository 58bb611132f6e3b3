"""The rule of `metadata`, held against its words."""

import re

from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from wavecom_common.channels.metadata import MetadataJson

_METADATA = TypeAdapter(MetadataJson)


def accepts(value: object) -> bool:
    try:
        _METADATA.validate_python(value)
    except ValidationError:
        return False
    return True


@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("$.ab\0", max_size=3), inner, max_size=3),
        max_leaves=12,
    )
)
def test_metadata_is_accepted_if_and_only_if_it_follows_the_rules(value):
    assert accepts(value) == (isinstance(value, dict) and _follows_the_rules(value, depth=1))


def _follows_the_rules(value: object, depth: int) -> bool:
    if isinstance(value, dict):
        keys = all(re.fullmatch(r"[^$.\0][^.\0]*", key) for key in value)
        return keys and depth <= 8 and all(_follows_the_rules(child, depth + 1) for child in value.values())
    if isinstance(value, list):
        return depth <= 8 and all(_follows_the_rules(child, depth + 1) for child in value)
    return not isinstance(value, int | float) or -(2**63) <= value <= 2**63 - 1
