"""When a nack is taken for a full queue."""

from copy import deepcopy

from wavecom_common.messaging.refusals import MAX_TRUST_S, Refusals


def test_a_queue_that_confirmed_something_on_this_channel_is_full() -> None:
    refusals = Refusals()
    refusals.confirmed(["key"])
    assert refusals.full(["key"], 0)


def test_a_channel_whose_first_message_is_nacked_is_left_and_so_are_the_next_ones() -> None:
    refusals = Refusals()
    for now_s in (100, 100.5, 104, 109.9):
        refusals.opened()
        assert not refusals.full(["key"], now_s)


def test_a_queue_is_known_by_whichever_message_reached_it() -> None:
    refusals = Refusals()
    refusals.confirmed(["projector", "sender"])
    assert refusals.full(["projector"], 0)
    assert not refusals.full(["projector", "another sender"], 0)


def test_a_queue_that_is_seen_to_have_a_leader_is_believed_at_once() -> None:
    refusals = Refusals()
    assert not refusals.full(["key"], 0)
    refusals.believe(0)
    assert [refusals.full(["key"], now_s) for now_s in (1, 9, 10)] == [True, True, False]


def test_what_was_confirmed_on_an_earlier_channel_proves_nothing() -> None:
    refusals = Refusals()
    refusals.confirmed(["key"])
    refusals.opened()
    assert not refusals.full(["key"], 0)


def test_what_goes_on_is_believed_and_tried_less_and_less_often() -> None:
    refusals, left_s = Refusals(), []
    for now_s in range(0, 600, 5):
        if not refusals.full(["key"], now_s):
            refusals.opened()
            left_s.append(now_s)
    assert left_s[:6] == [0, 5, 10, 20, 40, 80]
    assert left_s[-1] - left_s[-2] == MAX_TRUST_S


def test_a_confirm_under_the_doubted_key_starts_anew_and_one_under_another_does_not() -> None:
    refusals = Refusals()
    assert [refusals.full(["key"], now_s) for now_s in (0, 10)] == [False] * 2
    refusals.confirmed(["other"])
    refusals.opened()
    assert [refusals.full(["key"], now_s) for now_s in (15, 20, 39, 40)] == [True, False, True, False]
    refusals.confirmed(["key"])
    refusals.opened()
    assert [refusals.full(["key"], now_s) for now_s in (100, 109, 110, 119, 120)] == [False, False, False, True, False]


def test_a_doubt_of_long_ago_does_not_shorten_the_next_one() -> None:
    refusals = Refusals()
    assert [refusals.full(["one"], now_s) for now_s in (0, 10, 20)] == [False] * 3
    assert [refusals.full(["other"], now_s) for now_s in (3600, 3601, 3609, 3610, 3611, 3619)] == [False] * 4 + [
        True
    ] * 2


def test_a_doubt_begins_anew_when_the_last_one_is_long_ago() -> None:
    """Twice the longest trust; until then it goes on, and what is nacked after ten seconds is believed."""
    for since_s, believed in ((2 * MAX_TRUST_S, True), (2 * MAX_TRUST_S + 1, False)):
        refusals = Refusals()
        assert not refusals.full(["key"], 100)
        assert not refusals.full(["key"], 100 + since_s)
        assert refusals.full(["key"], 101 + since_s) is believed


def test_what_is_believed_is_believed_for_twice_as_long_each_time_and_a_minute_at_most() -> None:
    refusals, now_s, trusts_s = Refusals(), 0.0, list[float]()
    # In doubt, so that the trust is not that of the first time.
    assert not refusals.full(["key"], now_s)
    for _ in range(5):
        refusals.believe(now_s)
        # On a copy: a nack that is not believed changes what follows.
        until_s = next(one for one in range(200) if not deepcopy(refusals).full(["key"], now_s + one))
        trusts_s.append(until_s)
        now_s += until_s
    assert trusts_s == [10, 20, 40, 60, 60]


def test_a_confirm_of_what_was_doubted_begins_anew_with_the_first_trust() -> None:
    refusals = Refusals()
    for _ in range(3):
        refusals.believe(0)
    assert not refusals.full(["key"], 100)
    refusals.confirmed(["key"])
    refusals.opened()
    refusals.believe(200)
    assert refusals.full(["key"], 209)
    assert not refusals.full(["key"], 210)
