import orjson
import pytest
from wavecom_bench.modes import MODES, Mode
from wavecom_bench.payloads import requests
from wavecom_common.events.channels import CHANNELS


def bodies(mode: Mode) -> list[dict[str, object]]:
    return [orjson.loads(request.partition(b"\r\n\r\n")[2]) for _, request in requests(mode, "localhost")]


@pytest.mark.parametrize("per_post", [1, 7])
def test_a_load_has_just_as_many_notifications_as_it_says(per_post: int) -> None:
    mode = Mode("test", "", 100, per_post=per_post)
    assert sum(count for count, _ in requests(mode, "localhost")) == 100


def test_a_single_post_is_one_notification_and_a_batch_is_a_list() -> None:
    assert bodies(Mode("test", "", 3))[0]["channel"] == CHANNELS[0]
    [batch] = bodies(Mode("test", "", len(CHANNELS), per_post=50))
    assert [item["channel"] for item in batch["notifications"]] == list(CHANNELS)  # type: ignore[attr-defined]


def test_the_content_length_is_that_of_the_body() -> None:
    [(_, request)] = list(requests(Mode("test", "", 1), "localhost"))
    head, _, body = request.partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head


def test_priorities_come_in_their_shares() -> None:
    mode = Mode("test", "", 200, priorities=(("high", 10), ("medium", 60), ("low", 30)))
    found = [body["priority"] for body in bodies(mode)]
    assert [found.count(priority) for priority in ("high", "medium", "low")] == [20, 120, 60]
    assert len(set(found[:10])) > 1


def test_every_mode_has_a_name_of_its_own() -> None:
    assert len({mode.name for mode in MODES}) == len(MODES)
