"""Custom resources are held to their definitions: what an API server would drop or refuse is a finding."""

from pathlib import Path

import pytest
import yaml
from wavecom_manifests.objects import Manifests, Object
from wavecom_manifests.schemas import Definitions, is_built_in

_DEFINITION = {
    "kind": "CustomResourceDefinition",
    "spec": {
        "group": "example.com",
        "names": {"kind": "Kettle"},
        "versions": [
            {
                "name": "v1",
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "apiVersion": {"type": "string"},
                            "kind": {"type": "string"},
                            "metadata": {"type": "object"},
                            "spec": {
                                "type": "object",
                                "required": ["litres"],
                                "properties": {
                                    "litres": {"type": "string"},
                                    "port": {"x-kubernetes-int-or-string": True},
                                    "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                                    "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                                    "parts": {
                                        "type": "array",
                                        "items": {"type": "object", "properties": {"name": {"type": "string"}}},
                                    },
                                },
                            },
                        },
                    }
                },
            }
        ],
    },
}


# As a project's release has it, and as `kubectl get crd -o yaml` writes it.
@pytest.fixture(params=[_DEFINITION, {"kind": "List", "items": [_DEFINITION]}], ids=["alone", "in a list"])
def definitions(tmp_path: Path, request: pytest.FixtureRequest) -> Definitions:
    (tmp_path / "kettle.yaml").write_text(yaml.safe_dump(request.param))
    return Definitions.read(tmp_path)


def _kettle(**spec: object) -> Manifests:
    body = {"apiVersion": "example.com/v1", "kind": "Kettle", "metadata": {"name": "k"}, "spec": spec}
    return Manifests.parse(yaml.safe_dump(body))


def test_a_valid_resource_is_let_through(definitions: Definitions) -> None:
    whole = _kettle(litres="2", port=80, free={"any": ["thing"]}, labels={"a": "b"}, parts=[{"name": "lid"}])
    assert definitions.check(whole) == []


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, "'litres' is a required property"),
        ({"litres": 2}, "spec.litres: 2 is not of type 'string'"),
        ({"litres": "2", "colour": "red"}, "'colour' was unexpected"),
        ({"litres": "2", "parts": [{"nmae": "lid"}]}, "'nmae' was unexpected"),
        ({"litres": "2", "labels": {"a": 1}}, "spec.labels.a: 1 is not of type 'string'"),
        ({"litres": "2", "port": []}, "spec.port"),
    ],
)
def test_what_does_not_fit_is_found(definitions: Definitions, spec: dict[str, object], expected: str) -> None:
    [finding] = definitions.check(_kettle(**spec))
    assert expected in str(finding)


def test_a_resource_without_a_definition_is_found(definitions: Definitions) -> None:
    unknown = Manifests.parse("apiVersion: example.com/v2\nkind: Kettle\nmetadata: {name: k}\n")
    [finding] = definitions.check(unknown)
    assert "its definition is not in the folder" in str(finding)


def test_every_object_of_production_is_of_a_kind_that_one_of_the_checks_knows(prod: Manifests) -> None:
    groups = {one.body["apiVersion"].partition("/")[0] for one in prod.objects if not is_built_in(one)}
    assert groups == {"keda.sh", "mongodbcommunity.mongodb.com", "monitoring.coreos.com", "rabbitmq.com"}


def test_a_kind_that_a_folder_may_lack_is_named_and_no_finding(definitions: Definitions) -> None:
    body = {"apiVersion": "rabbitmq.com/v1beta1", "kind": "TopicPermission", "metadata": {"name": "x"}}
    rule = Manifests([Object(body)])
    assert definitions.check(rule) == []
    assert definitions.lacking(rule) == ["TopicPermission"]
