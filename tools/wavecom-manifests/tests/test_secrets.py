"""The example for secrets from outside names every secret production needs."""

import base64

import yaml
from wavecom_common.hosting.settings import Settings
from wavecom_manifests import environment
from wavecom_manifests.environment import Environment
from wavecom_manifests.objects import Manifests
from wavecom_manifests.policies import pods
from wavecom_manifests.policies.references import secrets_needed
from wavecom_manifests.repository import KUBERNETES, RENDERED


def test_the_example_offers_exactly_the_secrets_production_needs(prod: Manifests) -> None:
    examples = list(yaml.safe_load_all((KUBERNETES / "examples/external-secrets.yaml").read_text()))
    offered = {
        (example["spec"]["target"]["name"], key)
        for example in examples
        for key in example["spec"]["target"]["template"]["data"]
    }
    assert offered == secrets_needed(prod)


def test_the_topology_operator_may_read_the_brokers_secrets_and_no_others(prod: Manifests) -> None:
    examples = yaml.safe_load_all((KUBERNETES / "examples/external-secrets.yaml").read_text())
    labelled = {
        example["metadata"]["name"]
        for example in examples
        if example["spec"]["target"]["template"]
        .get("metadata", {})
        .get("labels", {})
        .get("rabbitmq.com/topology-operator")
    }
    assert labelled == {user.spec["importCredentialsSecret"]["name"] for user in prod.of("User")}


def test_the_operators_job_fits_into_production(prod: Manifests) -> None:
    job = Manifests.read(KUBERNETES / "examples/operator.yaml")
    [operator] = job.objects
    assert [str(finding) for finding in pods.check(job)] == []
    assert operator.pod_labels["app.kubernetes.io/name"] == "operator"
    assert prod.find("ServiceAccount", (operator.pod_template or {})["spec"]["serviceAccountName"]) is not None
    [container] = operator.containers
    assert environment.problems(container.where, Settings, Environment.of(container, job)) == []
    [cluster] = prod.of("MongoDBCommunity")
    connection_strings = {user["connectionStringSecretName"] for user in cluster.spec["users"]}
    brokers = {user.spec["importCredentialsSecret"]["name"] for user in prod.of("User")}
    secrets = {one["valueFrom"]["secretKeyRef"]["name"] for one in container.variables.values() if "valueFrom" in one}
    assert secrets <= connection_strings | brokers


def test_production_brings_no_secret_of_its_own(prod: Manifests) -> None:
    assert [one.where for one in prod.of("Secret")] == []


def test_a_laptops_passwords_say_what_they_are() -> None:
    dev = Manifests.read(RENDERED / "dev.yaml")
    passwords = {base64.b64decode(one.body["data"]["password"]).decode() for one in dev.of("Secret")}
    assert passwords == {"only-for-development"}
