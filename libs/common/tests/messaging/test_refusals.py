"""When a nack is taken for a full queue."""

from wavecom_common.messaging.refusals import MAX_TRUST_S, Refusals


def test_a_queue_that_confirmed_something_on_this_channel_is_full() -> None:
    refusals = Refusals()
    refusals.confirmed("key")
    assert refusals.full("key", 0)


def test_a_channel_whose_first_message_is_nacked_is_left_and_the_next_one_is_believed() -> None:
    refusals = Refusals()
    assert not refusals.full("key", 100)
    refusals.opened()
    assert refusals.full("key", 100.5)
    assert refusals.full("key", 101.9)


def test_what_was_confirmed_on_an_earlier_channel_proves_nothing() -> None:
    refusals = Refusals()
    refusals.confirmed("key")
    refusals.opened()
    assert not refusals.full("key", 0)


def test_a_channel_is_left_less_and_less_often_while_it_goes_on() -> None:
    refusals, left_s = Refusals(), []
    for now_s in range(600):
        if not refusals.full("key", now_s):
            refusals.opened()
            left_s.append(now_s)
    assert left_s[:6] == [0, 2, 6, 14, 30, 62]
    assert left_s[-1] - left_s[-2] == MAX_TRUST_S


def test_a_confirm_under_the_doubted_key_starts_anew_and_one_under_another_does_not() -> None:
    refusals = Refusals()
    assert [refusals.full("key", now_s) for now_s in (0, 2, 6)] == [False] * 3
    refusals.confirmed("other")
    refusals.opened()
    assert not refusals.full("key", 14)
    refusals.confirmed("key")
    refusals.opened()
    assert [refusals.full("key", now_s) for now_s in (30, 31, 32, 33)] == [False, True, False, True]
