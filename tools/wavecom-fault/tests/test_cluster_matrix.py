import pytest
from wavecom_fault.cluster_matrix import Blow, plans
from wavecom_fault.cluster_run import LIMIT_S, ClusterRow, queues_behind
from wavecom_fault.evidence import has_leader


def test_every_fault_comes_once_and_a_seed_gives_the_same_again() -> None:
    assert {plan.blow for plan in plans(1)} == set(Blow)
    assert len(plans(1)) == len(Blow)
    assert plans(1) == plans(1) != plans(2)
    assert plans(1, 3) == plans(1)[:3]
    assert {plan.hold_s for plan in plans(1, hold_s=7)} == {7}


@pytest.mark.parametrize(
    ("silent_s", "recovered_s", "majority", "leaderless", "good"),
    [
        (LIMIT_S, 5.0, True, [], True),
        (LIMIT_S + 0.1, 5.0, True, [], False),
        (LIMIT_S + 0.1, 5.0, True, ["dispatcher.requested"], True),
        (60.0, 5.0, False, [], True),
        (0.1, None, True, [], False),
    ],
)
def test_a_fault_is_survived_when_all_recovers_and_nothing_is_silent_for_longer_than_promised(
    silent_s: float, recovered_s: float | None, majority: bool, leaderless: list[str], good: bool
) -> None:
    row = ClusterRow(
        fault="leader killed",
        victims=["rabbitmq-1"],
        held_s=1,
        majority=majority,
        accepted=1,
        client_repeats=0,
        silent_s={"201": 0.1, "sms": silent_s},
        recovered_s=recovered_s,
        leaderless=leaderless,
        evidence=None,
        network_stalled_s=0,
    )
    assert row.good is good


def test_the_broker_is_asked_for_the_queues_that_have_to_move() -> None:
    assert queues_behind(["201"]) == ["dispatcher.requested", "status-projector.events"]
    assert "sms-sender.high" in queues_behind(["201", "sms"])
    assert "push-sender.high" not in queues_behind(["201", "sms"])


# Of `rabbitmq-queues quorum_status`, 3.10, cut to the columns that count.
STATUS = """
┌──────────────────────┬────────────┬───────────┐
│ Node Name            │ Raft State │ Log Index │
├──────────────────────┼────────────┼───────────┤
│ rabbitmq-1@localhost │ {}   │ 7         │
├──────────────────────┼────────────┼───────────┤
│ rabbitmq-2@localhost │ follower   │ 7         │
└──────────────────────┴────────────┴───────────┘
"""


def test_a_queue_has_a_leader_when_a_member_says_so() -> None:
    assert has_leader(STATUS.format("leader  "))
    assert not has_leader(STATUS.format("candidate"))
    assert not has_leader("Error: no answer")
