"""Rendered Kubernetes objects, and the questions the checks ask of them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

# What Kubernetes and its operators put no type on, we can't either.
Json = Any

_POD_TEMPLATES: Final = ("Deployment", "StatefulSet", "DaemonSet", "Job")


@dataclass(frozen=True)
class Finding:
    """Something that is wrong, and where."""

    where: str
    what: str

    def __str__(self) -> str:
        """One line."""
        return f"{self.where}: {self.what}"


@dataclass(frozen=True)
class Container:
    """A container of a pod template. `where` names it in findings."""

    where: str
    spec: Mapping[str, Json]

    @property
    def variables(self) -> Mapping[str, Mapping[str, Json]]:
        """Its own environment variables by name; those taken whole from a ConfigMap are not among them."""
        return {variable["name"]: variable for variable in self.spec.get("env", [])}

    @property
    def ports(self) -> Mapping[str, int]:
        """Its port numbers by name."""
        return {port["name"]: port["containerPort"] for port in self.spec.get("ports", [])}

    @property
    def probes(self) -> Mapping[str, Mapping[str, Json]]:
        """Its probes by kind, such as `readinessProbe`."""
        return {name: probe for name, probe in self.spec.items() if name.endswith("Probe")}


@dataclass(frozen=True)
class Object:
    """One Kubernetes object."""

    body: Mapping[str, Json]

    @property
    def kind(self) -> str:
        """Such as `Deployment`."""
        return str(self.body["kind"])

    @property
    def name(self) -> str:
        """Its name, or what Kubernetes will make one of."""
        return str(self.body["metadata"].get("name") or self.body["metadata"]["generateName"])

    @property
    def namespace(self) -> str:
        """Its namespace; empty for what has none."""
        return str(self.body["metadata"].get("namespace", ""))

    @property
    def spec(self) -> Mapping[str, Json]:
        """Its specification; empty for kinds without."""
        spec: Mapping[str, Json] = self.body.get("spec", {})
        return spec

    @property
    def where(self) -> str:
        """How findings name it."""
        return f"{self.kind} {self.name}"

    def finding(self, what: str) -> Finding:
        """A finding about it."""
        return Finding(self.where, what)

    @property
    def labels(self) -> Mapping[str, str]:
        """Its own labels."""
        labels: Mapping[str, str] = self.body["metadata"].get("labels", {})
        return labels

    @property
    def pod_template(self) -> Mapping[str, Json] | None:
        """The pods it makes; None for what makes none."""
        return self.spec["template"] if self.kind in _POD_TEMPLATES else None

    @property
    def pod_labels(self) -> Mapping[str, str]:
        """The labels of the pods it makes."""
        labels: Mapping[str, str] = (self.pod_template or {}).get("metadata", {}).get("labels", {})
        return labels

    @property
    def containers(self) -> Sequence[Container]:
        """The containers of the pods it makes, those that run first included."""
        if self.pod_template is None:
            return []
        pod = self.pod_template["spec"]
        specs = [*pod.get("initContainers", []), *pod["containers"]]
        return [Container(f"{self.where}, container {spec['name']}", spec) for spec in specs]


@dataclass(frozen=True)
class Manifests:
    """Everything one overlay renders to."""

    objects: Sequence[Object]

    @classmethod
    def read(cls, path: Path) -> "Manifests":
        """The objects of a file."""
        return cls.parse(path.read_text())

    @classmethod
    def parse(cls, text: str) -> "Manifests":
        """The objects of a stream of YAML documents."""
        return cls([Object(body) for body in yaml.safe_load_all(text) if body])

    def of(self, *kinds: str) -> Iterator[Object]:
        """Those of the kinds, in order."""
        return (one for one in self.objects if one.kind in kinds)

    def find(self, kind: str, name: str) -> Object | None:
        """The one of that kind and name."""
        return next((one for one in self.of(kind) if one.name == name), None)

    @property
    def pod_makers(self) -> Iterator[Object]:
        """Every object with a pod template."""
        return self.of(*_POD_TEMPLATES)
