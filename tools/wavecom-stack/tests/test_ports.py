"""Ports that are free, and ports that are not."""

import itertools
import socket
from collections.abc import Iterator

import pytest
from wavecom_stack.errors import StackError
from wavecom_stack.ports import PART, candidates, free_ports, is_free, is_listening, listener
from wavecom_stack.services import plan
from wavecom_stack.up import check_ports


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_free_ports_are_free_and_differ() -> None:
    ports = list(itertools.islice(free_ports(), 5))
    assert len(set(ports)) == 5
    assert all(is_free(port) and not is_listening(port) for port in ports)


def test_parts_have_nothing_in_common_and_leave_room_for_copies_which_listen_on_the_ports_that_follow() -> None:
    parts = [candidates(f"{number}/3") for number in range(3)]
    assert all(len(part) > 3_900 for part in parts)
    assert all(lower[-1] + 10 < upper[0] for lower, upper in itertools.pairwise(parts))


def test_a_process_draws_from_its_part_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PART, "7/8")
    assert set(itertools.islice(free_ports(), 20)) <= set(candidates("7/8"))


def test_a_port_somebody_listens_on_is_not_free(taken: int) -> None:
    assert not is_free(taken)
    assert is_listening(taken)


def test_the_process_that_has_a_port_is_named(taken: int) -> None:
    assert "pid" in (listener(taken) or "")


def test_a_taken_port_is_told_with_the_variable_that_sets_another(taken: int) -> None:
    processes = plan({"WAVECOM_HTTP_PORT": str(taken)}, itertools.count(20_000))
    with pytest.raises(StackError, match=rf"Port {taken} of ingest-api is in use by [\s\S]*WAVECOM_HTTP_PORT=3001"):
        check_ports(processes)
