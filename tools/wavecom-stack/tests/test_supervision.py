"""The configuration supervisor gets."""

from configparser import RawConfigParser
from pathlib import Path

from wavecom_stack.folder import RunFolder
from wavecom_stack.supervision import Program, render_config

FOLDER = RunFolder(Path("/somewhere/.run"))


def render(*programs: Program) -> RawConfigParser:
    parser = RawConfigParser()
    parser.read_string(render_config(programs, FOLDER))
    return parser


def test_stages_are_groups_in_the_order_in_which_they_start() -> None:
    config = render(
        Program(name="broker", stage="infra", command=["b"]),
        Program(name="one", stage="services", command=["1"]),
        Program(name="database", stage="infra", command=["d"]),
    )
    assert config["group:infra"]["programs"] == "broker,database"
    assert int(config["group:infra"]["priority"]) < int(config["group:services"]["priority"])


def test_nothing_starts_by_itself_but_everything_comes_back() -> None:
    section = render(Program(name="one", stage="services", command=["1"]))["program:one"]
    assert (section["autostart"], section["autorestart"]) == ("false", "true")


def test_percent_signs_reach_the_program() -> None:
    program = Program(name="one", stage="s", command=["run", "50%"], environment={"URL": "amqp://host/%2F"})
    section = render(program)["program:one"]
    assert section["command"] == "run 50%%"
    assert section["environment"] == 'URL="amqp://host/%%2F"'


def test_arguments_with_spaces_stay_one_argument() -> None:
    section = render(Program(name="one", stage="s", command=["run", "/my folder/x"]))["program:one"]
    assert section["command"] == "run '/my folder/x'"


def test_output_goes_to_the_log_of_that_name() -> None:
    section = render(Program(name="one", stage="s", command=["1"]))["program:one"]
    assert section["stdout_logfile"] == "/somewhere/.run/one.log"
    assert section["redirect_stderr"] == "true"


def test_a_program_may_stop_as_slowly_as_it_says() -> None:
    section = render(Program(name="one", stage="s", command=["1"], stop_wait_s=42))["program:one"]
    assert section["stopwaitsecs"] == "42"


def test_the_socket_moves_where_the_folder_s_path_is_too_long_for_one() -> None:
    deep = RunFolder(Path("/" + "/".join(["a-long-name"] * 12)))
    assert len(bytes(deep.supervisor_socket)) < 100
    assert FOLDER.supervisor_socket.parent == FOLDER.root
