"""How long a link may leave a message unconfirmed."""

import pytest
from wavecom_common.messaging.stalling import MAX_STALL_LIMIT_S, StallLimit


@pytest.mark.parametrize(
    ("happened", "limit_s"),
    [
        ([], 12),
        (["left"], 24),
        (["left"] * 3, 96),
        (["left"] * 9, MAX_STALL_LIMIT_S),
        (["left", "left", 0.01], 12),
        ([5.0], 12),
        # A confirm that took long is no reason to leave the next message sooner than it.
        ([15.0], 30),
        (["left", 15.0], 30),
        ([15.0, 0.01], 12),
        ([100.0], MAX_STALL_LIMIT_S),
    ],
)
def test_the_limit_doubles_with_each_link_left_and_follows_what_confirms_take(
    happened: list[str | float], limit_s: float
) -> None:
    limit = StallLimit(12)
    for one in happened:
        limit.left(nodes=1) if isinstance(one, str) else limit.confirmed(one)
    assert limit.limit_s == limit_s


def test_every_node_has_its_turn_before_the_limit_doubles() -> None:
    limit, limits_s = StallLimit(12), []
    for _ in range(6):
        limit.left(nodes=3)
        limits_s.append(limit.limit_s)
    assert limits_s == [12, 12, 24, 24, 24, 48]


def test_a_confirm_begins_the_turn_of_the_nodes_anew() -> None:
    limit, limits_s = StallLimit(12), []
    limit.left(nodes=3)
    limit.confirmed(0.01)
    for _ in range(3):
        limit.left(nodes=3)
        limits_s.append(limit.limit_s)
    assert limits_s == [12, 12, 24]


def test_of_two_nodes_both_have_their_turn() -> None:
    limit, limits_s = StallLimit(12), []
    for _ in range(4):
        limit.left(nodes=2)
        limits_s.append(limit.limit_s)
    assert limits_s == [12, 24, 24, 48]
