"""Every user of the broker has the rights its process needs, and no others."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from wavecom_common.events import routing
from wavecom_common.messaging.topology import Topology, migrating_name

from wavecom_manifests.broker_plan import planned
from wavecom_manifests.objects import Container, Finding, Manifests, Object
from wavecom_manifests.processes import ALL_KEYS, OTHERS, PROCESSES, Process

_RIGHTS: Final = ("configure", "write", "read")
# May declare, and therefore bind and set dead-letter exchanges.
_DECLARES: Final = "topology"
# Delays of other settings than the manifests': who may write to those publishes to exchanges that no rule is about.
_OTHER_DELAYS: Final = frozenset(map(routing.retry_name, (50, 3_000, 7_000)))


def check(manifests: Manifests) -> Sequence[Finding]:
    """The users of the processes and the permissions of everybody else."""
    found: list[Finding] = []
    plan = planned(manifests)
    for name, process in PROCESSES.items():
        deployment = manifests.find("Deployment", name)
        if process.uses_broker and deployment is not None:
            found += _process(deployment, process, manifests, plan)
    for permission in manifests.of("Permission"):
        found += _general(permission, plan)
        found += _keys(permission, manifests, plan)
    return found


def wanted(process: Process, plan: Topology) -> Mapping[str, frozenset[str]]:
    """The names each right has to cover.

    From RabbitMQ 4.3 on, looking whether a queue is there takes some right to it; `write` is the one that lets
    nobody read and, without `configure`, changes nothing.
    """
    delays = _delays(plan) if process.uses_every_delay else frozenset()
    return {
        "configure": frozenset(),
        "write": frozenset(process.publishes_to) | frozenset(process.asks_for) | delays,
        "read": frozenset(process.reads),
    }


def covered(pattern: str, names: frozenset[str]) -> frozenset[str]:
    """The names a right's pattern gives: an unanchored search, as RabbitMQ does it; an empty one gives none."""
    return frozenset(name for name in names if re.search(pattern or "^$", name))


def _all_names(plan: Topology) -> frozenset[str]:
    queues = frozenset(queue.name for queue in plan.queues)
    return frozenset(plan.exchanges) | queues | frozenset(map(migrating_name, queues))


def _delays(plan: Topology) -> frozenset[str]:
    return frozenset(plan.exchanges) - {routing.EVENTS_EXCHANGE, routing.DEAD_EXCHANGE}


def _process(deployment: Object, process: Process, manifests: Manifests, plan: Topology) -> Iterator[Finding]:
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
    for right, names in wanted(process, plan).items():
        given = covered(patterns.get(right, ""), _all_names(plan))
        if given != names:
            yield permissions[0].finding(_difference(right, names, given))


def _keys(permission: Object, manifests: Manifests, plan: Topology) -> Iterator[Finding]:
    """Who may publish to a topic exchange may do so under its own routing keys; without a rule for it, under all.

    Source: https://www.rabbitmq.com/docs/access-control#topic-authorisation
    """
    user = permission.spec["userReference"]["name"]
    pattern = permission.spec["permissions"].get("write", "")
    exchanges = covered(pattern, plan.topics)
    rules = [one for one in manifests.of("TopicPermission") if one.spec["userReference"]["name"] == user]
    about = [str(rule.spec["permissions"].get("exchange")) for rule in rules]
    for exchange in sorted(exchanges):
        if (count := about.count(exchange)) != 1:
            yield permission.finding(
                f"has {count} topic permissions for {exchange} instead of one: it may publish any event"
            )
    for rule, exchange in zip(rules, about, strict=True):
        if exchange not in exchanges:
            yield rule.finding(f"is about {exchange}, which is no topic exchange that its user may write to")
        else:
            yield from _rule(rule, exchange, permission)
    others = covered(pattern, _OTHER_DELAYS - _delays(plan))
    if others and user != _DECLARES:
        yield permission.finding(f"write: gives {sorted(others)}, for which it has no topic permission")


def _rule(rule: Object, exchange: str, permission: Object) -> Iterator[Finding]:
    user, rights = permission.spec["userReference"]["name"], rule.spec["permissions"]
    if rule.spec != dict(permission.spec) | {"permissions": rights} or set(rights) != {"exchange", "write", "read"}:
        yield rule.finding("is not about the user, the virtual host and the cluster of its permission")
    yield from _anchored(rule, rights)
    process = PROCESSES.get(user) or OTHERS.get(user)
    names = process.keys_for(exchange) if process else frozenset()
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


def _general(permission: Object, plan: Topology) -> Iterator[Finding]:
    patterns = permission.spec["permissions"]
    user = permission.spec["userReference"]["name"]
    yield from _anchored(permission, patterns)
    given = covered(patterns.get("configure", ""), _all_names(plan))
    if given != (_all_names(plan) if user == _DECLARES else frozenset()):
        yield permission.finding(f"configure: gives {sorted(given)}")


def _anchored(permission: Object, patterns: Mapping[str, str]) -> Iterator[Finding]:
    for right in _RIGHTS:
        pattern = patterns.get(right, "")
        if pattern and not (pattern.startswith("^") and pattern.endswith("$")):
            yield permission.finding(f"{right} is not anchored, so it also gives names that contain it")
