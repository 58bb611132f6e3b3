from itertools import islice

from wavecom_fault.__main__ import enough
from wavecom_fault.matrix import PROCESSES, SERVERS, VICTIMS, Choice, Fault, kills, random_strikes, strikes


def test_every_victim_meets_every_fault_once() -> None:
    pairs = [(strike.victim, strike.fault) for strike in strikes(7)]
    assert len(pairs) == len(set(pairs)) == (len(PROCESSES) + len(SERVERS)) * len(Fault)


def test_a_seed_gives_the_same_strikes_and_another_gives_others() -> None:
    assert strikes(1) == strikes(1)
    assert strikes(1) != strikes(2)
    assert strikes(1, 5) == strikes(1)[:5]


def test_a_part_of_the_matrix_can_be_chosen() -> None:
    [one] = strikes(1, choice=Choice("rabbitmq", Fault.STOP, 40))
    assert (one.victim, one.fault, one.hold_s) == ("rabbitmq", Fault.STOP, 40)
    assert {strike.victim for strike in strikes(1, choice=Choice(fault=Fault.CUT))} == set(VICTIMS)


def test_the_long_proof_kills_everything_once_in_every_round() -> None:
    planned = list(islice(kills(3), 3 * len(VICTIMS)))
    assert {strike.fault for strike in planned} == {Fault.KILL}
    for start in range(0, len(planned), len(VICTIMS)):
        assert {strike.victim for strike in planned[start : start + len(VICTIMS)]} == set(VICTIMS)


def test_the_long_proof_ends_with_a_whole_round_once_there_were_enough() -> None:
    will_do, round_ = enough(1000, 3), len(VICTIMS)
    assert not will_do(2 * round_, 5000)
    assert not will_do(3 * round_, 999)
    assert not will_do(3 * round_ + 1, 1000)
    assert will_do(3 * round_, 1000)
    assert will_do(4 * round_, 1000)


def test_chaos_is_the_same_for_a_seed_and_goes_further_where_it_lasts_longer() -> None:
    long = list(random_strikes(1, 600))
    assert list(random_strikes(1, 600)) == long
    assert list(random_strikes(2, 600)) != long
    short = list(random_strikes(1, 90))
    assert short == long[: len(short)]


def test_chaos_does_everything_to_everyone_every_few_seconds_for_as_long_as_is_asked() -> None:
    planned = list(random_strikes(1, 3600))
    assert {(strike.victim, strike.fault) for strike in planned} == {(one, fault) for one in VICTIMS for fault in Fault}
    assert all(2 <= strike.after_s <= 5 and 1 <= strike.hold_s <= 6 for strike in planned)
    assert 3595 <= sum(strike.after_s for strike in planned) <= 3600
    assert list(random_strikes(1, 1)) == []
