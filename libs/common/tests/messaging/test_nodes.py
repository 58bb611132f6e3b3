"""A broker's URL that names one node or several."""

import asyncio

import pytest
from wavecom_common.hosting.settings import Settings
from wavecom_common.kernel.errors import ConfigurationError, Unavailable
from wavecom_common.messaging.connection import connected, node_of
from wavecom_common.messaging.nodes import Node, in_turn, nodes_of


@pytest.mark.parametrize(
    ("url", "nodes"),
    [
        ("amqp://u:p@n1/", {"n1:5672": "amqp://u:p@n1/"}),
        ("amqp://n1:1", {"n1:1": "amqp://n1:1"}),
        (
            "amqps://u:p%2C%40@n1:5671,n2,[::1]:7/v%2Fx?heartbeat=5",
            {
                "n1:5671": "amqps://u:p%2C%40@n1:5671/v%2Fx?heartbeat=5",
                "n2:5671": "amqps://u:p%2C%40@n2/v%2Fx?heartbeat=5",
                "[::1]:7": "amqps://u:p%2C%40@[::1]:7/v%2Fx?heartbeat=5",
            },
        ),
        # The last @ ends the password.
        ("amqp://u:p@ss@n1,n2/", {"n1:5672": "amqp://u:p@ss@n1/", "n2:5672": "amqp://u:p@ss@n2/"}),
        ("amqp://u:a,b@n1,n2/", {"n1:5672": "amqp://u:a,b@n1/", "n2:5672": "amqp://u:a,b@n2/"}),
    ],
)
def test_each_host_is_a_node_with_the_user_and_the_virtual_host_of_all(url: str, nodes: dict[str, str]) -> None:
    assert {node.name: node.url for node in nodes_of(url)} == nodes


@pytest.mark.parametrize(
    "url",
    [
        "",
        "n1:5672",
        "http://u:secret@n1/",
        "amqp://u:secret@",
        "amqp://u:secret@n1,,n2/",
        "amqp://u:secret@n1,/",
        "amqp://u:secret@n1:x,n2/",
        "amqp://u:secret@[::1,n2/",
        "amqp://u:secret@n1/\n",
        "amqp://u:secret@n1:0/",
        "amqp://u:secret@n1:70000/",
        "amqp://u:secret@n1,u:secret@n2/",
        "amqp://u:secret@n1/,amqp://u:secret@n2/",
    ],
)
def test_a_malformed_one_stops_the_start_with_one_line_that_shows_no_password(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("WAVECOM_RABBITMQ_URL", url)
    with pytest.raises(ConfigurationError) as refused:
        Settings.load()
    text = str(refused.value)
    assert text.startswith("WAVECOM_RABBITMQ_URL: ")
    assert "amqp://user:password@host:port,host:port/vhost" in text
    assert "secret" not in text
    assert "\n" not in text


def test_a_node_shows_no_password() -> None:
    assert "secret" not in repr(nodes_of("amqp://u:secret@n1/"))


@pytest.mark.parametrize(
    ("first", "failed", "order"),
    [
        (0, {}, "abc"),
        (1, {}, "bca"),
        (5, {}, "cab"),
        (0, {"a": 7}, "bca"),
        (1, {"b": 7, "gone": 8}, "cab"),
        (0, {"a": 7, "b": 3}, "cba"),
        (0, {"a": 7, "b": 3, "c": 5}, "bca"),
    ],
)
def test_nodes_are_tried_in_turn_and_those_that_failed_last(first: int, failed: dict[str, float], order: str) -> None:
    nodes = [Node(name, "") for name in "abc"]
    assert "".join(node.name for node in in_turn(nodes, first=first, failed=failed)) == order


@pytest.mark.timeout(60)
async def test_a_node_that_is_down_and_one_that_is_frozen_are_passed_over(broker_url: str) -> None:
    [alive] = nodes_of(broker_url)
    # The connections of a listener that never accepts are made, and nothing is ever answered on them.
    frozen = await asyncio.start_server(lambda _, writer: held.append(writer), "127.0.0.1", 0)
    held: list[asyncio.StreamWriter] = []
    port = frozen.sockets[0].getsockname()[1]
    url = alive.url.replace(alive.name, f"127.0.0.1:1,127.0.0.1:{port},{alive.name}")
    for _ in range(3):
        async with connected(url, "test") as connection:
            assert node_of(connection) == alive.name
    with pytest.raises(Unavailable, match=rf"127\.0\.0\.1:{port}: TimeoutError"):
        async with connected(url.replace(f",{alive.name}", ""), "test"):
            pass
    for writer in held:
        writer.transport.abort()
    frozen.close()
