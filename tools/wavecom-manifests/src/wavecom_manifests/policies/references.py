"""Everything an object points at has to be there: ConfigMaps, Secrets, service accounts, services, deployments."""

from collections.abc import Iterator, Sequence

from wavecom_manifests.objects import Container, Finding, Json, Manifests, Object

# A secret's name and one of its keys.
SecretKey = tuple[str, str]


def check(manifests: Manifests) -> Sequence[Finding]:
    """Every reference; those to secrets where the overlay brings its own."""
    found: list[Finding] = []
    for maker in manifests.pod_makers:
        found += _pod(maker, manifests)
    for scaler in manifests.of("HorizontalPodAutoscaler", "ScaledObject"):
        found += _missing(scaler, manifests, "Deployment", scaler.spec["scaleTargetRef"]["name"])
    for ingress in manifests.of("Ingress"):
        for service in _backends(ingress):
            found += _missing(ingress, manifests, "Service", service)
    found += [
        account.finding("gives its token to every pod")
        for account in manifests.of("ServiceAccount")
        if account.body.get("automountServiceAccountToken") is not False
    ]
    return found + _secrets_missing(manifests)


def secrets_needed(manifests: Manifests) -> frozenset[SecretKey]:
    """The secrets the overlay's objects read, but those that MongoDB's operator writes."""
    users = [user for one in manifests.of("MongoDBCommunity") for user in one.spec["users"]]
    written = {user["connectionStringSecretName"] for user in users}
    needed = {
        (reference["name"], reference["key"])
        for maker in manifests.pod_makers
        for container in maker.containers
        for reference in _secrets(container)
        if reference["name"] not in written
    }
    needed |= {(user["passwordSecretRef"]["name"], "password") for user in users}
    for user in manifests.of("User"):
        needed |= {(user.spec["importCredentialsSecret"]["name"], key) for key in ("username", "password")}
    for authentication in manifests.of("TriggerAuthentication"):
        needed |= {(one["name"], one["key"]) for one in authentication.spec["secretTargetRef"]}
    for monitor in manifests.of("ServiceMonitor"):
        for endpoint in monitor.spec["endpoints"]:
            needed |= {(one["name"], one["key"]) for one in endpoint.get("basicAuth", {}).values()}
    return frozenset(needed)


def _secrets_missing(manifests: Manifests) -> list[Finding]:
    given = {
        (secret.name, key)
        for secret in manifests.of("Secret")
        for key in [*secret.body.get("data", {}), *secret.body.get("stringData", {})]
    }
    if not given:
        return []
    return [
        Finding(f"Secret {name}", f"is missing, or its key {key}")
        for name, key in sorted(secrets_needed(manifests) - given)
    ]


def _pod(maker: Object, manifests: Manifests) -> Iterator[Finding]:
    pod = (maker.pod_template or {})["spec"]
    yield from _missing(maker, manifests, "ServiceAccount", pod.get("serviceAccountName", "default"))
    for volume in pod.get("volumes", []):
        if "configMap" in volume:
            yield from _missing(maker, manifests, "ConfigMap", volume["configMap"]["name"])
    for container in maker.containers:
        for source in container.spec.get("envFrom", []):
            yield from _missing(maker, manifests, "ConfigMap", source["configMapRef"]["name"])


def _backends(ingress: Object) -> Iterator[str]:
    for rule in ingress.spec["rules"]:
        for path in rule["http"]["paths"]:
            yield path["backend"]["service"]["name"]


def _secrets(container: Container) -> Iterator[Json]:
    for variable in container.variables.values():
        reference = variable.get("valueFrom", {}).get("secretKeyRef")
        if reference is not None:
            yield reference


def _missing(owner: Object, manifests: Manifests, kind: str, name: str) -> Iterator[Finding]:
    if manifests.find(kind, name) is None:
        yield owner.finding(f"{kind} {name} is missing")
