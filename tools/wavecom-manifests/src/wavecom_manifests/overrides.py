"""What an overlay sets is what comes out of it.

An override can lose: kustomize makes an overlay's ConfigMaps before it applies the components, a container's own
variable hides the one of a ConfigMap, and of two variables of one name the last one counts. Nothing reports any of it.
Source: https://kubectl.docs.kubernetes.io/guides/config_management/components/
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from wavecom_manifests.environment import Environment
from wavecom_manifests.objects import Finding, Json, Manifests, Object

# What kustomize adds to the name of a ConfigMap it made.
_HASH: Final = re.compile(r"-[0-9a-z]{10}$")
# What tells the items of a list apart, the first that they have.
_KEYS: Final = ("name", "key", "mountPath", "containerPort", "port", "topologyKey")


@dataclass(frozen=True)
class _Folder:
    """An overlay's own folder, or one of a component that is its alone."""

    path: Path
    kustomization: Mapping[str, Json]


def check(overlay: Path, manifests: Manifests) -> Sequence[Finding]:
    """Every setting and patch of the overlay that is not what `manifests`, its render, has."""
    return [
        finding
        for folder in _folders(overlay)
        for finding in (*_lost_settings(folder, manifests), *_lost_patches(folder, manifests))
    ] + _named_twice(manifests)


def _folders(path: Path) -> Iterator[_Folder]:
    kustomization = yaml.safe_load((path / "kustomization.yaml").read_text())
    yield _Folder(path, kustomization)
    for component in kustomization.get("components", []):
        # What is shared is overridden, and does not override.
        if not component.startswith(".."):
            yield from _folders(path / component)


def _lost_settings(folder: _Folder, manifests: Manifests) -> Iterator[Finding]:
    for generator in folder.kustomization.get("configMapGenerator", []):
        maps = [one for one in manifests.of("ConfigMap") if _HASH.sub("", one.name) == generator["name"]]
        for name, value in (literal.split("=", 1) for literal in generator.get("literals", [])):
            where = f"{folder.path.name}: {name}={value} in {generator['name']}"
            for one in maps:
                if one.body["data"].get(name) != value:
                    yield Finding(where, f"loses: the ConfigMap has {one.body['data'].get(name)!r}")
            for container, seen in _readers(maps, manifests):
                if seen.literal.get(name) != value:
                    yield Finding(where, f"loses: {container} sees {seen.literal.get(name, 'a secret')!r}")


def _readers(maps: Sequence[Object], manifests: Manifests) -> Iterator[tuple[str, Environment]]:
    """The containers that take all variables of one of the ConfigMaps."""
    names = {one.name for one in maps}
    for maker in manifests.pod_makers:
        for container in maker.containers:
            taken = {source.get("configMapRef", {}).get("name") for source in container.spec.get("envFrom", [])}
            if taken & names:
                yield container.where, Environment.of(container, manifests)


def _lost_patches(folder: _Folder, manifests: Manifests) -> Iterator[Finding]:
    for patch in folder.kustomization.get("patches", []):
        text = (folder.path / patch["path"]).read_text() if "path" in patch else patch["patch"]
        where = f"{folder.path.name}: {patch.get('path', 'a patch')}"
        for wanted in (one for one in yaml.safe_load_all(text) if one):
            if "target" in patch and isinstance(wanted, dict):
                # Whom it is for is said beside it; the name in it is none.
                wanted.pop("metadata", None)
            targets = list(_targets(patch.get("target"), wanted, manifests))
            if not targets:
                yield Finding(where, "changes nothing: there is no such object")
            for target in targets:
                lost = _lost_operations(wanted, target) if isinstance(wanted, list) else _lost(wanted, target.body)
                yield from (Finding(where, f"loses in {target.where}: {what}") for what in lost)


def _targets(target: Mapping[str, Json] | None, wanted: Json, manifests: Manifests) -> Iterator[Object]:
    if target is None:
        found = manifests.find(wanted["kind"], wanted["metadata"]["name"])
        return iter([found] if found else [])
    labels = dict(pair.split("=", 1) for pair in target.get("labelSelector", "").split(",") if pair)
    return (
        one
        for one in manifests.objects
        if one.kind == target.get("kind", one.kind)
        and re.fullmatch(target.get("name", ".*"), one.name)
        and labels.items() <= one.labels.items()
    )


def _lost_operations(operations: Sequence[Mapping[str, Json]], target: Object) -> Iterator[str]:
    """Of a JSON patch: what was added or replaced and is another value, and what was removed and is there."""
    for operation in operations:
        there = _at(operation["path"], target.body)
        if there != operation.get("value"):
            yield f"{operation['path']} is {there!r}, not {operation.get('value')!r}"


def _at(path: str, body: Json) -> Json:
    for part in path.strip("/").split("/"):
        part = part.replace("~1", "/").replace("~0", "~")
        if isinstance(body, list):
            body = body[int(part)] if part.isdigit() and int(part) < len(body) else (body[-1] if part == "-" else None)
        else:
            body = body.get(part) if isinstance(body, Mapping) else None
    return body


def _lost(wanted: Json, there: Json, path: str = "") -> Iterator[str]:
    """Of a merge patch: every value that is another one."""
    if isinstance(wanted, Mapping) and isinstance(there, Mapping):
        for key, value in wanted.items():
            if not key.startswith("$"):
                yield from _lost(value, there.get(key), f"{path}/{key}")
    elif isinstance(wanted, list) and isinstance(there, list):
        for item in wanted:
            same = next((one for one in there if _is_same(item, one)), None)
            yield from _lost(item, same, f"{path}[{_label(item)}]")
    elif wanted != there:
        yield f"{path} is {there!r}, not {wanted!r}"


def _is_same(item: Json, one: Json) -> bool:
    if not isinstance(item, Mapping):
        return bool(item == one)
    key = next((key for key in _KEYS if key in item), None)
    return item == one if key is None else bool(isinstance(one, Mapping) and one.get(key) == item[key])


def _label(item: Json) -> str:
    return str(next((item[key] for key in _KEYS if key in item), "")) if isinstance(item, Mapping) else str(item)


def _named_twice(manifests: Manifests) -> list[Finding]:
    found = []
    for maker in manifests.pod_makers:
        for container in maker.containers:
            names = [variable["name"] for variable in container.spec.get("env", [])]
            for name in sorted({name for name in names if names.count(name) > 1}):
                found.append(Finding(container.where, f"{name} is set twice: only the last one counts"))
    return found
