"""What several servers of a kind need so that the others go on within seconds when one falls silent.

Sources: https://www.rabbitmq.com/docs/nettick, https://www.rabbitmq.com/docs/clustering#replica-placement,
https://www.mongodb.com/docs/manual/reference/replica-configuration/
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from wavecom_manifests.objects import Finding, Manifests, Object

# Below, a busy node is taken for a dead one; above, what depends on a silent node waits for longer than we promise.
NET_TICK_S: Final = range(8, 16)
LEADERS: Final = "balanced"
NET_SETUP: Final = "-kernel net_setuptime 2"
ELECTION_MS: Final = range(2_000, 6_001)


def check(manifests: Manifests) -> Sequence[Finding]:
    """Every broker of more than one node, every database of more than one member."""
    brokers = [one for one in manifests.of("RabbitmqCluster") if one.spec.get("replicas", 1) > 1]
    databases = [one for one in manifests.of("MongoDBCommunity") if one.spec.get("members", 1) > 1]
    return [
        *[finding for one in brokers for finding in _nodes(one)],
        *[finding for one in databases for finding in _members(one)],
    ]


def _nodes(cluster: Object) -> Iterator[Finding]:
    settings = _settings(cluster)
    tick = settings.get("net_ticktime", "60")
    if not tick.isdecimal() or int(tick) not in NET_TICK_S:
        yield cluster.finding(
            f"net_ticktime is {tick}: for so many seconds a silent node counts as alive, and queues may wait; "
            f"{NET_TICK_S.start} to {NET_TICK_S.stop - 1} will do"
        )
    locator = settings.get("queue_leader_locator", "client-local")
    if locator != LEADERS:
        yield cluster.finding(
            f"queue_leader_locator is {locator}: one node, that of the topology job, leads every queue; set {LEADERS}"
        )
    if NET_SETUP not in cluster.spec.get("rabbitmq", {}).get("envConfig", ""):
        yield cluster.finding(
            f'SERVER_ADDITIONAL_ERL_ARGS in envConfig lacks "{NET_SETUP}": a channel opened while a node is silent '
            "waits 7 s for it"
        )


def _members(database: Object) -> Iterator[Finding]:
    settings = database.spec.get("automationConfig", {}).get("replicaSet", {}).get("settings", {})
    if (election_ms := settings.get("electionTimeoutMillis", 10_000)) not in ELECTION_MS:
        yield database.finding(f"electionTimeoutMillis is {election_ms}: so long a lost primary is waited for")
    if settings.get("catchUpTimeoutMillis", -1) != 0:
        yield database.finding(
            "catchUpTimeoutMillis is not 0: a new primary waits 10 s for one that is cut off, though it has all that a "
            "majority acknowledged"
        )


def _settings(cluster: Object) -> Mapping[str, str]:
    lines = str(cluster.spec.get("rabbitmq", {}).get("additionalConfig", "")).splitlines()
    pairs = [line.partition("=") for line in lines if "=" in line and not line.lstrip().startswith("#")]
    return {name.strip(): value.strip() for name, _, value in pairs}
