"""What is decided about a message by how often it came back."""

import pytest
from wavecom_common.messaging.redelivery import Counters, Decision, Limits, decide

LIMITS = Limits(redeliveries=10, trials=5, splits=3, counted=50)


@pytest.mark.parametrize(
    ("counters", "expected"),
    [
        (Counters(), Decision.HANDLE),
        (Counters(delivery_count=10), Decision.HANDLE),
        (Counters(carried=10), Decision.HANDLE),
        (Counters(delivery_count=11), Decision.ISOLATE),
        (Counters(carried=11), Decision.ISOLATE),
        (Counters(delivery_count=6, carried=5), Decision.ISOLATE),
        # However often: it is quarantined, and the broker counts afresh.
        (Counters(delivery_count=51), Decision.ISOLATE),
        (Counters(delivery_count=0, carried=51), Decision.ISOLATE),
        # Left to the broker by a process that lives: no fault of its own.
        (Counters(delivery_count=50, left=50), Decision.HANDLE),
        (Counters(delivery_count=50, left=39), Decision.ISOLATE),
        (Counters(delivery_count=50, left=40), Decision.HANDLE),
        (Counters(delivery_count=51, left=51), Decision.REPUBLISH),
        (Counters(delivery_count=51, left=60), Decision.REPUBLISH),
        (Counters(delivery_count=0, carried=5, left=51), Decision.HANDLE),
        # Quarantined.
        (Counters(quarantined=True), Decision.HANDLE_ALONE),
        (Counters(delivery_count=3, carried=2, quarantined=True), Decision.HANDLE_ALONE),
        (Counters(delivery_count=6, quarantined=True), Decision.SPLIT),
        (Counters(carried=8, quarantined=True), Decision.SPLIT),
        (Counters(carried=9, quarantined=True), Decision.GIVE_UP),
        (Counters(delivery_count=60, quarantined=True), Decision.GIVE_UP),
        (Counters(delivery_count=51, left=51, quarantined=True), Decision.REPUBLISH),
    ],
)
def test_each_past_has_its_decision(counters: Counters, expected: Decision) -> None:
    assert decide(counters, LIMITS) is expected


@pytest.mark.parametrize("delivery_count", range(60))
@pytest.mark.parametrize("carried", [0, 5, 51])
@pytest.mark.parametrize("quarantined", [False, True])
def test_what_is_sent_back_is_handled_or_given_up_after_at_most_one_more(
    delivery_count: int, carried: int, quarantined: bool
) -> None:
    decision = decide(Counters(delivery_count, carried, 0, quarantined), LIMITS)
    if decision is Decision.ISOLATE:
        again = decide(Counters(quarantined=True), LIMITS)
    elif decision is Decision.REPUBLISH:
        again = decide(Counters(carried=delivery_count + carried, quarantined=quarantined), LIMITS)
    else:
        again = decision
    assert again not in {Decision.ISOLATE, Decision.REPUBLISH}


def test_the_limits_in_use_leave_the_broker_none_to_take_away() -> None:
    assert Limits().redeliveries < Limits().counted
    assert Limits().trials + Limits().splits < Limits().counted
