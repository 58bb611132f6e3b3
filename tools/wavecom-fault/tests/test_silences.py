"""The longest time without: from two records that grow, one of which knows notifications before the other does."""

from pathlib import Path

import orjson
import pytest
from wavecom_fault.client import Accepted
from wavecom_fault.silences import Silences, longest_s


@pytest.mark.parametrize(
    ("moments_ms", "seconds"),
    [
        ([], 10.0),
        ([1_000, 2_000, 9_000, 10_000], 7.0),
        # Before and after the window nothing counts.
        ([-5_000, 500, 9_000, 20_000], 8.5),
        ([0, 4_000, 4_000, 10_000], 6.0),
    ],
)
def test_the_longest_silence_of_a_window_is_between_two_moments_or_a_moment_and_its_edge(
    moments_ms: list[int], seconds: float
) -> None:
    assert longest_s(moments_ms, 0, 10_000) == seconds


def test_calls_count_for_the_queue_of_their_notification_once_its_client_has_the_answer(tmp_path: Path) -> None:
    accepted = Accepted(ids=["a"], at_ms=[1_000], queues=["sms-sender.low"])
    calls = tmp_path / "calls.jsonl"
    silences = Silences(accepted, calls)
    assert silences.longest_s(0, 10_000) == {"201": 9.0, "sms-sender.low": 10.0}

    with calls.open("ab") as record:
        record.write(orjson.dumps({"notificationId": "a", "atMs": 2_000}) + b"\n")
        record.write(orjson.dumps({"notificationId": "b", "atMs": 7_000}) + b"\n" + b'{"notific')
    assert silences.longest_s(0, 10_000) == {"201": 9.0, "sms-sender.low": 8.0}
    assert silences.current_s(0, 12_000) == {"201": 11.0, "sms-sender.low": 10.0}
    assert silences.current_s(11_000, 12_000) == {"201": 1.0, "sms-sender.low": 1.0}

    accepted.ids.append("b")
    accepted.at_ms.append(6_000)
    accepted.queues.append("push-sender.high")
    assert silences.longest_s(0, 10_000) == {"201": 5.0, "sms-sender.low": 8.0, "push-sender.high": 7.0}
    # What is excused ends a silence of its name only.
    assert silences.longest_s(0, 10_000, {"sms-sender.low": [9_000]}) == {
        "201": 5.0,
        "sms-sender.low": 7.0,
        "push-sender.high": 7.0,
    }
