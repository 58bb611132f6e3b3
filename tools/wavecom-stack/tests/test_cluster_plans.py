"""Nodes of a cluster: apart in folders and ports, and known to each other."""

from itertools import count
from pathlib import Path

from wavecom_stack.folder import RunFolder
from wavecom_stack.mongodb import PrivateDatabase, set_url
from wavecom_stack.rabbitmq import NET_SETUP_S, NET_TICK_S, PrivateBroker

SCRIPT = Path("/usr/lib/rabbitmq/lib/rabbitmq_server-3.10.8/sbin/rabbitmq-server")


def test_broker_nodes_differ_in_all_that_is_theirs_and_share_cookie_port_mapper_and_peers(tmp_path: Path) -> None:
    nodes = PrivateBroker.plan_cluster(SCRIPT, RunFolder(tmp_path), count(1), 3, epmd_port=4369)
    assert [node.node for node in nodes] == ["rabbitmq-1@localhost", "rabbitmq-2@localhost", "rabbitmq-3@localhost"]
    ports = [port for node in nodes for port in (node.amqp_port, node.management_port, node.distribution_port)]
    assert len(set(ports)) == 9
    environments = [node.environment() for node in nodes]
    for own in ("RABBITMQ_NODENAME", "RABBITMQ_MNESIA_BASE", "RABBITMQ_PID_FILE", "RABBITMQ_CONFIG_FILE"):
        assert len({environment[own] for environment in environments}) == 3
    for shared in ("HOME", "ERL_EPMD_PORT"):
        assert len({environment[shared] for environment in environments}) == 1
    # The port mapper is the cluster's.
    assert [[program.name for program in node.programs()] for node in nodes] == [[node.name] for node in nodes]

    for node in nodes:
        assert f"-kernel net_setuptime {NET_SETUP_S}" in node.environment()["RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS"]
        node.prepare()
        config = Path(node.environment()["RABBITMQ_CONFIG_FILE"]).read_text().splitlines()
        assert f"net_ticktime = {NET_TICK_S}" in config
        peers = [line.rpartition(" = ")[2] for line in config if "classic_config.nodes" in line]
        assert peers == [other.node for other in nodes]


def test_a_node_alone_is_of_no_cluster(tmp_path: Path) -> None:
    node = PrivateBroker.plan(SCRIPT, RunFolder(tmp_path), count(1))
    node.prepare()
    assert "cluster" not in Path(node.environment()["RABBITMQ_CONFIG_FILE"]).read_text()
    assert node.node == "wavecom@localhost"


def test_members_of_a_replica_set_are_reached_by_one_url_and_killed_rather_than_stopped(tmp_path: Path) -> None:
    assert set_url(["127.0.0.1:1", "127.0.0.1:2"]) == "mongodb://127.0.0.1:1,127.0.0.1:2/?replicaSet=rs0"
    folder = RunFolder(tmp_path)
    [one] = PrivateDatabase(Path("mongod"), folder, 1, "mongodb-1", ("127.0.0.1:1", "127.0.0.1:2")).programs()
    [alone] = PrivateDatabase(Path("mongod"), folder, 1).programs()
    assert (one.name, one.stop_signal) == ("mongodb-1", "KILL")
    assert (alone.name, alone.stop_signal) == ("mongodb", "TERM")
