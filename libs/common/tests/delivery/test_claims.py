from wavecom_common.delivery.claims import Call, LookAgain, Repeat, Resume, decide
from wavecom_common.delivery.ledger import Claim
from wavecom_common.events.outcomes import Delivered


def test_the_first_to_claim_calls() -> None:
    assert decide(None, owner="me", now_ms=100) == Call()


def test_a_stored_outcome_is_told_again_and_not_called_again() -> None:
    assert decide(Claim("other", 0, Delivered("x"), 50), owner="me", now_ms=100) == Repeat(Delivered("x"), 50)


def test_an_outcome_counts_although_the_lease_still_runs() -> None:
    assert decide(Claim("other", 900, Delivered("x"), 50), owner="me", now_ms=100) == Repeat(Delivered("x"), 50)


def test_while_the_lease_runs_the_owner_is_left_alone() -> None:
    assert decide(Claim("other", 101), owner="me", now_ms=100) == LookAgain()


def test_when_the_lease_is_over_the_outcome_is_unknown() -> None:
    assert decide(Claim("other", 100), owner="me", now_ms=100) == Resume()


def test_a_claim_of_our_own_was_made_by_a_write_whose_answer_was_lost() -> None:
    assert decide(Claim("me", 900), owner="me", now_ms=100) == Call()


def test_one_we_took_over_stays_unknown_although_it_is_our_own() -> None:
    assert decide(Claim("me", 900, taken_over=True), owner="me", now_ms=100) == Resume()
