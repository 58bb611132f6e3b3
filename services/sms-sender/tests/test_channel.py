"""The rule of phone numbers, held against the library and the document it stands for."""

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter
from sms_sender.channel import NUMBER_PATTERN, PhoneNumber

_NUMBER = TypeAdapter(PhoneNumber)


@given(number=st.from_regex(NUMBER_PATTERN, fullmatch=True))
def test_every_number_accepted_has_a_country_the_library_knows(number):
    assert phonenumbers.parse(number).country_code in phonenumbers.COUNTRY_CODE_TO_REGION_CODE
    assert 7 <= len(number) - 1 <= 15


@pytest.mark.parametrize("region", sorted(phonenumbers.SUPPORTED_REGIONS))
def test_an_example_number_of_every_region_is_accepted(region):
    example = phonenumbers.example_number(region)
    assert example is not None

    number = phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.E164)
    assert _NUMBER.validate_python(number) == number
