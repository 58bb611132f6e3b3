"""Every user of the broker has the rights its process needs, and no others."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from wavecom_common.events import routing, types
from wavecom_common.hosting.settings import Settings
from wavecom_common.messaging import dead_letters, topology

from wavecom_manifests.objects import Container, Finding, Manifests, Object
from wavecom_manifests.processes import ALL_KEYS, PROCESSES, Process, direct_keys, keys

# The routing keys of the users that are no process: a person sends dead letters back and what a broker lost, the job
# moves what is in a queue that it makes anew.
_OTHERS: Final[Mapping[str, frozenset[str]]] = {
    "operator": keys([types.FAILED, types.OUTCOME_UNKNOWN]) | direct_keys(*dead_letters.queues()),
    "topology": direct_keys(*dead_letters.queues()),
}
_RIGHTS: Final = ("configure", "write", "read")
# May declare, and therefore bind and set dead-letter exchanges.
_DECLARES: Final = "topology"


def check(manifests: Manifests) -> Sequence[Finding]:
    """The users of the processes and the permissions of everybody else."""
    found: list[Finding] = []
    for name, process in PROCESSES.items():
        deployment = manifests.find("Deployment", name)
        if process.uses_broker and deployment is not None:
            found += _process(deployment, process, manifests)
    for permission in manifests.of("Permission"):
        found += _general(permission)
        found += _keys(permission, manifests)
    return found


def wanted(process: Process) -> Mapping[str, frozenset[str]]:
    """The names each right has to cover.

    From RabbitMQ 4.3 on, looking whether a queue is there takes some right to it; `write` is the one that lets
    nobody read and, without `configure`, changes nothing.
    """
    retries = _retry_names() if process.uses_every_delay else frozenset()
    return {
        "configure": frozenset(),
        "write": frozenset(process.publishes_to) | frozenset(process.asks_for) | retries,
        "read": frozenset(process.reads),
    }


def covered(pattern: str, names: frozenset[str]) -> frozenset[str]:
    """The names a right's pattern gives: an unanchored search, as RabbitMQ does it; an empty one gives none."""
    return frozenset(name for name in names if re.search(pattern or "^$", name))


def all_names() -> frozenset[str]:
    """Every exchange and queue there is."""
    planned = topology.plan(Settings.model_construct().broker_delays_ms)
    return frozenset(planned.exchanges) | frozenset(queue.name for queue in planned.queues)


def _retry_names() -> frozenset[str]:
    delays_ms = Settings.model_construct().broker_delays_ms
    return frozenset(map(routing.retry_name, delays_ms))


def _process(deployment: Object, process: Process, manifests: Manifests) -> Iterator[Finding]:
    [container] = deployment.containers
    user = _user(container, manifests)
    if user is None:
        yield Finding(container.where, "there is no broker user with the secret it uses")
        return
    if user.name != deployment.name:
        yield Finding(container.where, f"uses the rights of {user.name}")
    permissions = [one for one in manifests.of("Permission") if one.spec["userReference"]["name"] == user.name]
    if len(permissions) != 1:
        yield user.finding(f"has {len(permissions)} permissions instead of one")
        return
    patterns = permissions[0].spec["permissions"]
    for right, names in wanted(process).items():
        given = covered(patterns.get(right, ""), all_names())
        if given != names:
            yield permissions[0].finding(_difference(right, names, given))


def _keys(permission: Object, manifests: Manifests) -> Iterator[Finding]:
    """Who may publish events may do so under its own routing keys; without a rule for it, under all of them.

    Source: https://www.rabbitmq.com/docs/access-control#topic-authorisation
    """
    user = permission.spec["userReference"]["name"]
    rules = [one for one in manifests.of("TopicPermission") if one.spec["userReference"]["name"] == user]
    if not covered(permission.spec["permissions"].get("write", ""), frozenset({routing.EVENTS_EXCHANGE})):
        return
    if len(rules) != 1:
        yield permission.finding(f"has {len(rules)} topic permissions instead of one: it may publish any event")
        return
    [rule] = rules
    rights = rule.spec["permissions"]
    expected = dict(permission.spec) | {"permissions": dict(rights) | {"exchange": routing.EVENTS_EXCHANGE}}
    if rule.spec != expected or set(rights) != {"exchange", "write", "read"}:
        yield rule.finding(f"is not about {routing.EVENTS_EXCHANGE} in the virtual host of its permission")
    yield from _anchored(rule, rights)
    names = PROCESSES[user].publishes_as if user in PROCESSES else _OTHERS.get(user, frozenset())
    given = covered(rights.get("write", ""), ALL_KEYS)
    if given != names:
        yield rule.finding(_difference("write", names, given))
    # Whoever binds a queue may read under the binding's key.
    given = covered(rights.get("read", ""), ALL_KEYS)
    if given != (ALL_KEYS if user == _DECLARES else frozenset()):
        yield rule.finding(f"read: gives {sorted(given)}")


def _difference(right: str, wanted: frozenset[str], given: frozenset[str]) -> str:
    lacks, has = sorted(wanted - given), sorted(given - wanted)
    return f"{right}: " + "; ".join([f"lacks {lacks}"] * bool(lacks) + [f"gives {has} for nothing"] * bool(has))


def _user(container: Container, manifests: Manifests) -> Object | None:
    variables = [container.variables.get(name, {}) for name in ("RABBITMQ_USERNAME", "RABBITMQ_PASSWORD")]
    secrets = {one.get("valueFrom", {}).get("secretKeyRef", {}).get("name") for one in variables}
    users = [one for one in manifests.of("User") if {one.spec["importCredentialsSecret"]["name"]} == secrets]
    return users[0] if len(users) == 1 else None


def _general(permission: Object) -> Iterator[Finding]:
    patterns = permission.spec["permissions"]
    user = permission.spec["userReference"]["name"]
    yield from _anchored(permission, patterns)
    given = covered(patterns.get("configure", ""), all_names())
    if given != (all_names() if user == _DECLARES else frozenset()):
        yield permission.finding(f"configure: gives {sorted(given)}")


def _anchored(permission: Object, patterns: Mapping[str, str]) -> Iterator[Finding]:
    for right in _RIGHTS:
        pattern = patterns.get(right, "")
        if pattern and not (pattern.startswith("^") and pattern.endswith("$")):
            yield permission.finding(f"{right} is not anchored, so it also gives names that contain it")
