from wavecom_common.delivery.claims import Call, LookAgain, Repeat, Resume, decide
from wavecom_common.events.outcomes import Delivered
from wavecom_common.storage.ledger import Claim


def test_the_first_to_claim_calls() -> None:
    assert decide(None, now_ms=100) == Call()


def test_a_stored_outcome_is_told_again_and_not_called_again() -> None:
    assert decide(Claim("other", 0, Delivered("x"), 50), now_ms=100) == Repeat(Delivered("x"), 50)


def test_an_outcome_counts_although_the_lease_still_runs() -> None:
    assert decide(Claim("other", 900, Delivered("x"), 50), now_ms=100) == Repeat(Delivered("x"), 50)


def test_while_the_lease_runs_the_owner_is_left_alone() -> None:
    assert decide(Claim("other", 101), now_ms=100) == LookAgain()


def test_when_the_lease_is_over_the_outcome_is_unknown() -> None:
    assert decide(Claim("other", 100), now_ms=100) == Resume()
