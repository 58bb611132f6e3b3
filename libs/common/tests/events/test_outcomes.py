from typing import Any

import pytest
from wavecom_common.events.outcomes import (
    Delivered,
    DeliveryOutcome,
    PermanentFailure,
    Throttled,
    TransientFailure,
    UnknownOutcome,
    checked,
)

BROKEN: Any = b"bytes"


@pytest.mark.parametrize(
    "outcome", [Delivered("x"), TransientFailure("e"), Throttled("e", 1.5), PermanentFailure("e"), UnknownOutcome("e")]
)
def test_an_outcome_stays_what_it_is(outcome: DeliveryOutcome) -> None:
    assert checked(outcome) == outcome


@pytest.mark.parametrize("told", [None, True, "sent", Delivered(BROKEN), TransientFailure(BROKEN)])
def test_what_is_no_outcome_is_an_unknown_one(told: object) -> None:
    assert isinstance(checked(told), UnknownOutcome)


@pytest.mark.parametrize(
    ("told", "outcome"),
    [
        (Delivered("a\ud800b"), Delivered("a?b")),
        (PermanentFailure("no \udfff"), PermanentFailure("no ?")),
        (TransientFailure("e" * 1_000_000), TransientFailure("e" * 500)),
        (Throttled("e" * 501, 1.5), Throttled("e" * 500, 1.5)),
        (Throttled("busy", float("inf")), TransientFailure("busy")),
        (Throttled("busy", float("nan")), TransientFailure("busy")),
        (Throttled("busy", BROKEN), TransientFailure("busy")),
    ],
)
def test_what_could_not_be_stored_or_waited_for_is_mended(told: DeliveryOutcome, outcome: DeliveryOutcome) -> None:
    assert checked(told) == outcome


def test_an_outcome_that_can_be_kept_is_kept_itself() -> None:
    outcome = Delivered("x")
    assert checked(outcome) is outcome


def test_an_unknown_outcome_says_what_the_adapter_returned_instead() -> None:
    assert checked(None) == UnknownOutcome("the adapter returned NoneType, which is no outcome")
    assert checked(Delivered(BROKEN)) == UnknownOutcome("the adapter's Delivered holds no text")
    assert checked(Throttled(BROKEN, 1.0)) == UnknownOutcome("the adapter's Throttled holds no text")
