"""A broker and a database of our own: started, killed, back again, stopped without a trace."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from pymongo import MongoClient
from wavecom_stack.folder import RunFolder
from wavecom_stack.infra import MONGODB_URL, RABBITMQ_URL
from wavecom_stack.leftovers import MARK
from wavecom_stack.stack import Stack
from wavecom_stack.waiting import wait_until

pytestmark = [pytest.mark.connected, pytest.mark.timeout(300)]


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    environment = {name: value for name, value in os.environ.items() if name not in {RABBITMQ_URL, MONGODB_URL}}
    stack = Stack(RunFolder(tmp_path), environment, print)
    yield stack
    stack.stop()


def marked(folder: RunFolder) -> list[str]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == str(folder.root):
                found.append(process.name())
        except psutil.Error:
            continue
    return found


def test_killed_servers_come_back_and_stopping_leaves_nothing(stack: Stack) -> None:
    infra = stack.start_infra()
    for server in infra.private:
        name = server.programs()[-1].name
        killed = stack.supervisor.pid(name)
        assert int(stack.folder.pid(name).read_text()) == killed
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda name=name, old=killed: _same(stack, name, old), timeout_s=60)
    infra.wait_until_ready(stack.supervisor.raise_if_dead)
    for server in infra.private:
        name = server.programs()[-1].name
        assert int(stack.folder.pid(name).read_text()) == stack.supervisor.pid(name)

    stack.stop()

    assert marked(stack.folder) == []
    assert not stack.folder.data("rabbitmq").exists()


def test_what_a_killed_supervisor_left_is_ended_and_kept_data_is_there_at_the_next_start(stack: Stack) -> None:
    infra = stack.start_infra()
    with MongoClient[dict[str, Any]](infra.mongodb_url) as client:
        client["kept"]["things"].insert_one({"_id": 1})
    for path in stack.folder.root.glob("supervisord.pid"):
        os.kill(int(path.read_text()), signal.SIGKILL)

    left = stack.stop(keep_data=True)

    assert marked(stack.folder) == []
    assert left >= len(infra.private)
    again = stack.start_infra()  # on other ports
    with MongoClient[dict[str, Any]](again.mongodb_url) as client:
        assert client["kept"]["things"].count_documents({}) == 1


def _same(stack: Stack, name: str, old: int) -> str | None:
    return f"{name} is not back" if stack.supervisor.pid(name) in {0, old} else None
