"""The rule of addresses, held against the library it stands for."""

import email_validator
from email_sender.channel import ADDRESS_PATTERN, EmailAddress
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

_ADDRESS = TypeAdapter(EmailAddress)

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


def accepts(address: str) -> bool:
    try:
        _ADDRESS.validate_python(address)
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


@given(pieces=st.lists(_PIECES, max_size=12))
def test_an_address_is_accepted_if_and_only_if_the_library_accepts_it(pieces):
    address = "".join(pieces)

    assert accepts(address) == library_accepts(address)


@given(local=st.lists(_PIECES, max_size=3), domain=st.lists(_PIECES, max_size=5))
def test_an_address_with_both_parts_is_accepted_if_and_only_if_the_library_accepts_it(local, domain):
    address = f"{''.join(local)}@{''.join(domain)}.com"

    assert accepts(address) == library_accepts(address)


@given(address=st.from_regex(ADDRESS_PATTERN, fullmatch=True))
def test_what_the_published_pattern_matches_the_library_accepts(address):
    assume(len(address) <= 254)
    # The one thing a pattern cannot say.
    assume("xn--" not in address.lower())

    assert library_accepts(address)
