"""Where a broker and a database come from."""

from pathlib import Path

import pytest
from wavecom_stack import docker, rabbitmq
from wavecom_stack.errors import StackError
from wavecom_stack.infra import COMPOSE_FILE, Source, choose
from wavecom_stack.packages import command_for


def never() -> bool:
    raise AssertionError("asked without need")


def yes() -> bool:
    return True


def no() -> bool:
    return False


def test_an_address_that_was_given_wins_without_looking_further() -> None:
    assert choose("amqp://given", docker_can=never, installed=never) is Source.GIVEN


def test_docker_comes_before_the_machine_s_own_programs() -> None:
    assert choose(None, docker_can=yes, installed=never) is Source.DOCKER


def test_the_machine_s_own_programs_come_before_installing() -> None:
    assert choose(None, docker_can=no, installed=yes) is Source.MACHINE


def test_installing_is_the_last_way() -> None:
    assert choose("", docker_can=no, installed=no) is Source.INSTALL


def test_images_are_pinned() -> None:
    images = docker.images(COMPOSE_FILE)
    assert [image.partition(":")[0] for image in images] == ["rabbitmq", "mongo"]
    assert all(image.partition(":")[2].count(".") == 2 for image in images)


def server(library: Path, version: str) -> Path:
    script = library / f"rabbitmq/lib/rabbitmq_server-{version}/sbin/rabbitmq-server"
    script.parent.mkdir(parents=True)
    script.touch()
    return script


def test_the_newest_rabbitmq_is_taken(tmp_path: Path) -> None:
    server(tmp_path, "3.9.13")
    newest = server(tmp_path, "3.12.1")
    server(tmp_path, "3.10.8")
    assert rabbitmq.find_server(tmp_path) == newest


def test_a_rabbitmq_that_is_too_old_is_named(tmp_path: Path) -> None:
    server(tmp_path, "3.9.13")
    with pytest.raises(StackError, match=r"3\.9 is installed; 3\.10 is the oldest"):
        rabbitmq.find_server(tmp_path)


def test_root_installs_directly() -> None:
    command = command_for(["rabbitmq-server"], has_apt=True, is_root=True, has_sudo=never)
    assert command[0] == "sh"
    assert command[-1] == "rabbitmq-server"


def test_others_install_with_sudo_where_it_asks_for_no_password() -> None:
    assert command_for(["rabbitmq-server"], has_apt=True, is_root=False, has_sudo=yes)[:2] == ["sudo", "-n"]


def test_without_root_the_exact_command_is_told() -> None:
    with pytest.raises(StackError, match="sudo apt-get install -y rabbitmq-server libcurl4"):
        command_for(["rabbitmq-server", "libcurl4"], has_apt=True, is_root=False, has_sudo=no)


def test_without_apt_the_other_ways_are_told() -> None:
    with pytest.raises(StackError, match="WAVECOM_RABBITMQ_URL"):
        command_for(["rabbitmq-server"], has_apt=False, is_root=True, has_sudo=never)
