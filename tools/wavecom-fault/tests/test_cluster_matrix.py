import pytest
from wavecom_fault.cluster_matrix import Blow, plans
from wavecom_fault.cluster_run import LIMIT_S, ClusterRow, excused_ms, longest_of_channels, queues_behind
from wavecom_fault.evidence import Evidence, is_leaderless


def test_every_fault_comes_once_and_a_seed_gives_the_same_again() -> None:
    assert {plan.blow for plan in plans(1)} == set(Blow)
    assert len(plans(1)) == len(Blow)
    assert plans(1) == plans(1) != plans(2)
    assert plans(1, 3) == plans(1)[:3]
    assert {plan.hold_s for plan in plans(1, hold_s=7)} == {7}


@pytest.mark.parametrize(
    ("unexcused_s", "recovered_s", "majority", "good"),
    [
        (LIMIT_S, 5.0, True, True),
        # Also when a queue had no leader for a part of it.
        (LIMIT_S + 0.1, 5.0, True, False),
        (60.0, 5.0, False, True),
        (0.1, None, True, False),
    ],
)
def test_a_fault_is_survived_when_all_recovers_and_nothing_is_silent_for_longer_than_promised(
    unexcused_s: float, recovered_s: float | None, majority: bool, good: bool
) -> None:
    row = ClusterRow(
        fault="leader killed",
        victims=["rabbitmq-1"],
        held_s=1,
        majority=majority,
        accepted=1,
        client_repeats=0,
        silent_s={"201": 0.1, "sms-sender.low": 170.0},
        unexcused_s={"201": 0.1, "sms-sender.low": unexcused_s},
        recovered_s=recovered_s,
        leaderless=["dispatcher.requested"],
        evidence=None,
        network_stalled_s=0,
    )
    assert row.good is good


def test_only_a_queue_that_a_name_needs_excuses_its_silence_and_only_until_then() -> None:
    assert queues_behind("201") == ["dispatcher.requested", "status-projector.events"]
    assert queues_behind("sms-sender.low") == ["dispatcher.requested", "status-projector.events", "sms-sender.low"]
    looks = [Evidence(1_000, ["sms-sender.low"]), Evidence(5_000, ["status-projector.events"]), Evidence(9_000, [])]
    assert excused_ms(looks, ["201", "sms-sender.low", "sms-sender.high"]) == {
        "201": [5_000],
        "sms-sender.low": [1_000, 5_000],
        "sms-sender.high": [5_000],
    }


def test_a_channel_is_shown_by_its_most_silent_queue() -> None:
    silent_s = {"201": 1.0, "sms-sender.high": 2.0, "sms-sender.low": 30.0, "push-sender.low": 3.0}
    assert longest_of_channels(silent_s) == {"201": 1.0, "sms": 30.0, "push": 3.0}


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


def test_a_queue_has_no_leader_when_its_members_say_so_and_not_when_nothing_is_known() -> None:
    assert not is_leaderless(STATUS.format("leader  "))
    assert is_leaderless(STATUS.format("candidate"))
    assert not is_leaderless("Error: no answer")
    assert not is_leaderless("no answer within 45 s")
