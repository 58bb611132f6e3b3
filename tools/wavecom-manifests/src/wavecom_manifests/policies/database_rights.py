"""Every user of the database may do to each collection what its process does, and nothing else."""

from collections.abc import Iterator, Mapping, Sequence

from wavecom_manifests.environment import Environment
from wavecom_manifests.objects import Finding, Json, Manifests, Object
from wavecom_manifests.processes import PROCESSES


def check(manifests: Manifests) -> Sequence[Finding]:
    """The users the processes connect as."""
    clusters = list(manifests.of("MongoDBCommunity"))
    if len(clusters) != 1:
        return [Finding("the overlay", f"has {len(clusters)} replica sets instead of one")]
    return [
        finding
        for name, process in PROCESSES.items()
        if process.collections and (deployment := manifests.find("Deployment", name)) is not None
        for finding in _process(deployment, process.collections, clusters[0], manifests)
    ]


def actions_of(user: Json, cluster: Object, database: str) -> Mapping[str, frozenset[str]]:
    """What a user may do in the database, by collection; `*` stands for a role that is not one of ours."""
    roles = {(role["role"], role["db"]): role for role in cluster.spec["security"].get("roles", [])}
    actions: dict[str, frozenset[str]] = {}
    for granted in user["roles"]:
        role = roles.get((granted["name"], granted["db"]))
        if role is None or role.get("roles"):
            return {"*": frozenset({granted["name"]})}
        for privilege in role["privileges"]:
            resource = privilege["resource"]
            name = (
                resource["collection"] if resource["db"] == database else f"{resource['db']}.{resource['collection']}"
            )
            actions[name] = actions.get(name, frozenset()) | frozenset(privilege["actions"])
    return actions


def _process(
    deployment: Object, collections: Mapping[str, frozenset[str]], cluster: Object, manifests: Manifests
) -> Iterator[Finding]:
    [container] = deployment.containers
    variable = container.variables.get("WAVECOM_MONGODB_URL", {})
    secret = variable.get("valueFrom", {}).get("secretKeyRef", {}).get("name")
    users = [user for user in cluster.spec["users"] if user["connectionStringSecretName"] == secret]
    if len(users) != 1:
        yield Finding(container.where, "there is no database user with the connection string it uses")
        return
    if users[0]["name"] != deployment.name:
        yield Finding(container.where, f"uses the rights of {users[0]['name']}")
    database = Environment.of(container, manifests).literal.get("WAVECOM_MONGODB_DATABASE", "")
    given = actions_of(users[0], cluster, database)
    if given != collections:
        yield cluster.finding(
            f"user {users[0]['name']} may {_shown(given)}, but its process does {_shown(collections)}"
        )


def _shown(actions: Mapping[str, frozenset[str]]) -> dict[str, list[str]]:
    return {name: sorted(actions[name]) for name in sorted(actions)}
