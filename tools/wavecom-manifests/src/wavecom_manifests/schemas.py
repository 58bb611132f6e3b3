"""Validation against schemas: Kubernetes' own kinds, and custom resources by their definitions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import jsonschema
import yaml

from wavecom_manifests.objects import Finding, Json, Manifests, Object

# The versions the overlays are meant for. 1.34 made the `sleep` action before a stop stable.
SUPPORTED: Final = ("1.34", "1.35", "1.36", "1.37")
_BUILT_IN: Final = ("apps", "autoscaling", "batch", "networking.k8s.io", "policy", "rbac.authorization.k8s.io", "")

# Not in every folder of definitions, so the rules of `policies.broker_rights` check all of it. Source:
# https://github.com/rabbitmq/messaging-topology-operator/blob/main/config/crd/bases/rabbitmq.com_topicpermissions.yaml
MAY_LACK: Final = frozenset({("rabbitmq.com/v1beta1", "TopicPermission")})


def is_built_in(one: Object) -> bool:
    """Whether it is one of Kubernetes' own kinds."""
    return _group(one) in _BUILT_IN


def check_built_in(manifests: Manifests, version: str) -> Sequence[Finding]:
    """Kubernetes' own kinds against the schemas of one version; unknown fields are errors.

    Raises:
        ModuleNotFoundError: `kubernetes_validate` is of the dependency group `k8s`, which only `make k8s-validate` has.
    """
    # Not above: it brings every version's schemas, some 100 MB, and only this check needs them.
    import kubernetes_validate

    found: list[Finding] = []
    for one in manifests.objects:
        if is_built_in(one):
            try:
                kubernetes_validate.validate(dict(one.body), version, strict=True)
            except kubernetes_validate.ValidationError as error:
                path = ".".join(str(step) for step in error.path)
                found.append(one.finding(f"Kubernetes {version}: {path}: {error.message}"))
            except kubernetes_validate.SchemaNotFoundError as error:
                found.append(one.finding(f"Kubernetes {version}: {error.message}"))
    return found


@dataclass(frozen=True)
class Definitions:
    """The schemas of custom resources, by API version and kind."""

    schemas: Mapping[tuple[str, str], Json]

    @classmethod
    def read(cls, folder: Path) -> "Definitions":
        """Every CustomResourceDefinition in a folder's YAML files, alone or in a List as `kubectl get` writes it."""
        documents = (
            document for path in sorted(folder.glob("*.yaml")) for document in yaml.safe_load_all(path.read_text())
        )
        return cls(
            {
                (f"{crd['spec']['group']}/{version['name']}", crd["spec"]["names"]["kind"]): closed(
                    version["schema"]["openAPIV3Schema"]
                )
                for document in documents
                if document
                for crd in document.get("items", [document])
                if crd.get("kind") == "CustomResourceDefinition"
                for version in crd["spec"]["versions"]
            }
        )

    def lacking(self, manifests: Manifests) -> Sequence[str]:
        """The kinds that are not checked for want of a definition; see `MAY_LACK`."""
        kinds = {(str(one.body["apiVersion"]), one.kind) for one in manifests.objects}
        return sorted(kind for version, kind in kinds & MAY_LACK - self.schemas.keys())

    def check(self, manifests: Manifests) -> Sequence[Finding]:
        """Custom resources against their definitions; one whose definition is not here is a finding too."""
        found: list[Finding] = []
        for one in manifests.objects:
            if is_built_in(one):
                continue
            name = (str(one.body["apiVersion"]), one.kind)
            schema = self.schemas.get(name)
            if schema is None and name in MAY_LACK:
                continue
            if schema is None:
                found.append(one.finding("its definition is not in the folder"))
                continue
            validator = jsonschema.Draft202012Validator(schema)
            for error in validator.iter_errors(one.body):
                path = ".".join(str(step) for step in error.absolute_path)
                found.append(one.finding(f"{path}: {error.message}"))
        return found


def closed(schema: Json) -> Json:
    """The schema with unknown fields forbidden, as an API server that prunes would lose them without a word."""
    if not isinstance(schema, dict):
        return schema
    result = {
        key: {name: closed(one) for name, one in value.items()} if key == "properties" else closed(value)
        for key, value in schema.items()
        if key not in ("properties", "metadata") or isinstance(value, dict)
    }
    if schema.get("x-kubernetes-int-or-string"):
        result.pop("type", None)
        result["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    is_open = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
    if "properties" in schema and not is_open:
        result["additionalProperties"] = False
    if result.get("nullable") and isinstance(result.get("type"), str):
        result["type"] = [result["type"], "null"]
    return result


def _group(one: Object) -> str:
    return str(one.body["apiVersion"]).rpartition("/")[0]
