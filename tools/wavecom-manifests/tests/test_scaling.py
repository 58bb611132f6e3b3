"""KEDA's and Kubernetes' formula on the thresholds of the manifests."""

import pytest
from wavecom_manifests.objects import Manifests
from wavecom_manifests.scaling import PERIOD_S, Autoscaler, Scaler, wanted


@pytest.fixture
def email(prod: Manifests) -> Scaler:
    found = prod.find("ScaledObject", "email-sender")
    assert found is not None
    return Scaler.of(found)


def test_a_threshold_full_of_messages_is_work_for_one_copy(email: Scaler) -> None:
    assert wanted(email, 5 * email.value, 1) == 5
    assert wanted(email, 5 * email.value + 1, 1) == 6


def test_near_its_target_the_number_stays(email: Scaler) -> None:
    assert wanted(email, round(2.1 * email.value), 2) == 2
    assert wanted(email, round(2.3 * email.value), 2) == 3


def test_a_burst_is_met_at_once_but_not_faster_than_the_policies_allow(email: Scaler) -> None:
    autoscaler = Autoscaler(email)
    assert autoscaler.decide(0, 100 * email.value, 2) == 4
    # The same period of the policies still: what was added counts.
    assert autoscaler.decide(PERIOD_S - 1, 100 * email.value, 4) == 4
    assert autoscaler.decide(PERIOD_S, 100 * email.value, 4) == 8
    assert autoscaler.decide(2 * PERIOD_S, 100 * email.value, 8) == email.most


def test_a_queue_that_just_emptied_keeps_its_copies_through_the_window(email: Scaler) -> None:
    autoscaler = Autoscaler(email)
    autoscaler.decide(0, 8 * email.value, 8)
    assert autoscaler.decide(email.down_window_s - 1, 0, 8) == 8
    assert autoscaler.decide(email.down_window_s + 1, 0, 8) == 4
    assert autoscaler.decide(email.down_window_s + 62, 0, 4) == email.least


def test_a_short_lull_takes_no_copy_away(email: Scaler) -> None:
    autoscaler = Autoscaler(email)
    decisions = [
        autoscaler.decide(at_s, 0 if at_s == 150 else 6 * email.value, 6) for at_s in range(0, 600, round(PERIOD_S))
    ]
    assert set(decisions) == {6}


def test_a_laptop_goes_to_none_after_the_cool_down_and_wakes_with_the_first_message(manifests: Manifests) -> None:
    found = manifests.find("ScaledObject", "sms-sender")
    assert found is not None
    scaler = Scaler.of(found)
    autoscaler = Autoscaler(scaler)
    replicas, seen = max(scaler.least, 1), []
    for at_s in range(0, 1200, round(PERIOD_S)):
        replicas = autoscaler.decide(at_s, 1 if at_s in (0, 900) else 0, replicas)
        seen.append(replicas)
    assert (0 in seen) == (scaler.least == 0)
    assert seen[900 // round(PERIOD_S)] >= 1
