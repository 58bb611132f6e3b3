"""Which processes there are and what each is given."""

import itertools
from pathlib import Path

import pytest
from wavecom_common.events.channels import CHANNELS
from wavecom_stack.errors import StackError
from wavecom_stack.folder import RunFolder
from wavecom_stack.services import Process, plan, programs

FOLDER = RunFolder(Path("/run"))


def planned(**environment: str) -> dict[str, Process]:
    return {process.name: process for process in plan(environment, itertools.count(20_000))}


def given(name: str, **environment: str) -> dict[str, str]:
    found = programs(plan(environment, itertools.count(20_000)), environment, FOLDER)
    return dict(next(program for program in found if program.name == name).environment)


def test_there_are_four_processes_and_one_of_each_channel() -> None:
    assert list(planned()) == [
        "ingest-api",
        "dispatcher",
        *(f"{channel}-sender" for channel in CHANNELS),
        "status-projector",
        "status-query",
    ]


def test_the_api_is_on_port_3000_unless_told_otherwise() -> None:
    assert planned()["ingest-api"].port == 3000
    assert planned(WAVECOM_HTTP_PORT="8080")["ingest-api"].port == 8080


def test_copies_have_numbers_behind_their_names() -> None:
    names = list(planned(WAVECOM_COPIES_EMAIL_SENDER="2"))
    assert "email-sender" not in names
    assert {"email-sender-1", "email-sender-2"} < set(names)


def test_copies_of_the_query_server_take_ports_in_a_row_and_the_api_calls_them_all() -> None:
    processes = planned(WAVECOM_COPIES_STATUS_QUERY="2")
    assert [processes[f"status-query-{number}"].port for number in (1, 2)] == [50051, 50052]
    target = given("ingest-api", WAVECOM_COPIES_STATUS_QUERY="2")["WAVECOM_STATUS_QUERY_TARGET"]
    assert target == "ipv4:127.0.0.1:50051,127.0.0.1:50052"


def test_a_target_that_was_given_is_kept() -> None:
    assert "WAVECOM_STATUS_QUERY_TARGET" not in given("ingest-api", WAVECOM_STATUS_QUERY_TARGET="dns:///elsewhere:1")


def test_pages_of_this_machine_may_call_the_api_unless_told_otherwise() -> None:
    assert given("ingest-api")["WAVECOM_CORS_ORIGINS"] == "http://localhost:*,http://127.0.0.1:*"
    assert "WAVECOM_CORS_ORIGINS" not in given("ingest-api", WAVECOM_CORS_ORIGINS="")
    assert "WAVECOM_CORS_ORIGINS" not in given("status-query")


def test_grpc_clients_may_ask_what_there_is_unless_told_otherwise() -> None:
    assert given("status-query")["WAVECOM_GRPC_REFLECTION"] == "true"
    assert "WAVECOM_GRPC_REFLECTION" not in given("status-query", WAVECOM_GRPC_REFLECTION="false")


def test_every_process_has_an_admin_port_of_its_own() -> None:
    ports = [process.admin_port for process in planned(WAVECOM_COPIES_DISPATCHER="3").values()]
    assert len(set(ports)) == len(ports) == 6 + len(CHANNELS)


def test_traces_carry_the_service_s_name_unless_one_was_given() -> None:
    assert given("sms-sender-2", WAVECOM_COPIES_SMS_SENDER="2")["OTEL_SERVICE_NAME"] == "sms-sender"
    assert "OTEL_SERVICE_NAME" not in given("sms-sender", OTEL_SERVICE_NAME="mine")


def test_a_process_may_drain_before_it_is_killed() -> None:
    environment = {"WAVECOM_DRAIN_TIMEOUT_S": "60"}
    found = programs(plan(environment, itertools.count(20_000)), environment, FOLDER)
    assert {program.stop_wait_s for program in found} == {70}


@pytest.mark.parametrize("value", ["none", "0", "-1", "1.5", ""])
def test_a_wrong_number_of_copies_is_named(value: str) -> None:
    with pytest.raises(StackError, match="WAVECOM_COPIES_DISPATCHER"):
        planned(WAVECOM_COPIES_DISPATCHER=value)
