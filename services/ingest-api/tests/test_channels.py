"""The rules of the channels, held against the libraries and the documents they stand for."""

import re
from typing import get_args

import email_validator
import phonenumbers
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from ingest_api.channels import NOTIFICATION_REQUEST, NotificationRequest
from ingest_api.channels.email import ADDRESS_PATTERN, EmailAddress
from ingest_api.channels.metadata import MetadataJson
from ingest_api.channels.sms import NUMBER_PATTERN, PhoneNumber
from pydantic import TypeAdapter, ValidationError
from wavecom_common.events.channels import CHANNELS

_ADDRESS = TypeAdapter(EmailAddress)
_NUMBER = TypeAdapter(PhoneNumber)
_METADATA = TypeAdapter(MetadataJson)

# What addresses are made of, and what spoils them.
_PIECES = st.sampled_from(
    [
        *"aZ09-_.@+'!~\"\\ <>[]:",
        "..",
        "--",
        "xn--",
        "ab--cd",
        "example",
        ".com",
        ".local",
        "LOCALHOST",
        ".test",
        ".x1",
        "é",
    ]
)


def accepts(adapter: TypeAdapter, value: object) -> bool:
    try:
        adapter.validate_python(value)
    except ValidationError:
        return False
    return True


def library_accepts(address: str) -> bool:
    try:
        found = email_validator.validate_email(
            address, check_deliverability=False, test_environment=True, allow_smtputf8=False
        )
    except email_validator.EmailNotValidError:
        return False
    # In its test environment the library lets `user@test` pass, and domains in other scripts as they are.
    return "." in found.domain and address.isascii()


def test_every_channel_has_its_rules():
    union = get_args(get_args(NotificationRequest)[0])
    named = [get_args(model.model_fields["channel"].annotation)[0] for model in union]

    assert tuple(named) == CHANNELS


@given(pieces=st.lists(_PIECES, max_size=12))
def test_an_address_is_accepted_if_and_only_if_the_library_accepts_it(pieces):
    address = "".join(pieces)

    assert accepts(_ADDRESS, address) == library_accepts(address)


@given(local=st.lists(_PIECES, max_size=3), domain=st.lists(_PIECES, max_size=5))
def test_an_address_with_both_parts_is_accepted_if_and_only_if_the_library_accepts_it(local, domain):
    address = f"{''.join(local)}@{''.join(domain)}.com"

    assert accepts(_ADDRESS, address) == library_accepts(address)


@given(address=st.from_regex(ADDRESS_PATTERN, fullmatch=True))
def test_what_the_published_pattern_matches_the_library_accepts(address):
    assume(len(address) <= 254)
    # The one thing a pattern cannot say.
    assume("xn--" not in address.lower())

    assert library_accepts(address)


@given(number=st.from_regex(NUMBER_PATTERN, fullmatch=True))
def test_every_number_accepted_has_a_country_the_library_knows(number):
    assert phonenumbers.parse(number).country_code in phonenumbers.COUNTRY_CODE_TO_REGION_CODE
    assert 7 <= len(number) - 1 <= 15


@pytest.mark.parametrize("region", sorted(phonenumbers.SUPPORTED_REGIONS))
def test_an_example_number_of_every_region_is_accepted(region):
    example = phonenumbers.example_number(region)
    assert example is not None

    assert accepts(_NUMBER, phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.E164))


@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("$.ab\0", max_size=3), inner, max_size=3),
        max_leaves=12,
    )
)
def test_metadata_is_accepted_if_and_only_if_it_follows_the_rules(value):
    assert accepts(_METADATA, value) == (isinstance(value, dict) and _follows_the_rules(value, depth=1))


def _follows_the_rules(value: object, depth: int) -> bool:
    if isinstance(value, dict):
        keys = all(re.fullmatch(r"[^$.\0][^.\0]*", key) for key in value)
        return keys and depth <= 8 and all(_follows_the_rules(child, depth + 1) for child in value.values())
    if isinstance(value, list):
        return depth <= 8 and all(_follows_the_rules(child, depth + 1) for child in value)
    return not isinstance(value, int | float) or -(2**63) <= value <= 2**63 - 1


def test_the_published_patterns_are_read_alike_everywhere():
    """Only what ECMA 262, Python and Rust have in common: no \\p, no possessive or named groups, no \\Z."""
    document = str(NOTIFICATION_REQUEST.json_schema())

    assert not re.search(r"\\\\[pPZAz]|\(\?<|\(\?P", document)
