from wavecom_fault.matrix import PROCESSES, SERVERS, Fault, strikes


def test_every_victim_meets_every_fault_once() -> None:
    pairs = [(strike.victim, strike.fault) for strike in strikes(7)]
    assert len(pairs) == len(set(pairs)) == (len(PROCESSES) + len(SERVERS)) * len(Fault)


def test_a_seed_gives_the_same_strikes_and_another_gives_others() -> None:
    assert strikes(1) == strikes(1)
    assert strikes(1) != strikes(2)
    assert strikes(1, 5) == strikes(1)[:5]
