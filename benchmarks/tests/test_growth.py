from wavecom_bench.run import growth
from wavecom_bench.watch import Seen


def seen(costs: list[float]) -> Seen:
    """Samples of a load of 100 notifications a second, each at a cost."""
    return Seen(
        cpu_s=[sum(costs[:second]) * 100 for second in range(len(costs) + 1)],
        posted=[second * 100 for second in range(len(costs) + 1)],
    )


def test_a_cost_that_stays_has_no_growth() -> None:
    assert growth(seen([0.001] * 20)) == 1.0


def test_growth_is_the_last_fifth_over_the_first() -> None:
    assert growth(seen([0.001] * 5 + [0.005] * 10 + [0.003] * 5)) == 3.0


def test_a_short_load_tells_nothing() -> None:
    assert growth(seen([0.001] * 5)) is None
