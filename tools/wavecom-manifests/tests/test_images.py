"""Images of others are named by digest wherever they are named, and each in one version."""

import re
import subprocess
from collections import defaultdict

from wavecom_manifests.repository import ROOT

# A name with a tag, where an image stands: behind `image:`, as a default of a variable, in a Dockerfile's argument.
_NAMED = re.compile(r"(?:image: |_IMAGE:-|_IMAGE=)([a-z][\w./-]*:[\w.-]+)(?:@sha256:([0-9a-f]{64}))?")
_DIGEST = re.compile(r"([a-z][\w./-]*:[\w.-]+)@sha256:([0-9a-f]{64})")


def _texts() -> dict[str, str]:
    listed = subprocess.run(["git", "ls-files", "deploy", "docs", "*.md"], cwd=ROOT, capture_output=True, check=True)
    names = [name for name in listed.stdout.decode().split() if not name.endswith((".json", ".pem"))]
    return {name: (ROOT / name).read_text() for name in names}


def _ours(image: str) -> bool:
    return "wavecom" in image or image.startswith("local/")


def test_an_image_of_others_is_named_by_its_digest() -> None:
    loose = [
        f"{name}: {image}"
        for name, text in _texts().items()
        for image, digest in _NAMED.findall(text)
        if not digest and not _ours(image)
    ]
    assert loose == []


def test_an_image_has_one_version_and_one_digest_wherever_it_is_named() -> None:
    versions = defaultdict(set)
    for text in _texts().values():
        for image, digest in _DIGEST.findall(text):
            versions[image.rpartition(":")[0]].add((image, digest))
    assert len(versions) >= 7
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}


def test_a_pinned_image_is_nowhere_named_without_its_digest() -> None:
    texts = _texts()
    pinned = {image for text in texts.values() for image, _ in _DIGEST.findall(text)}
    loose = [
        f"{name}: {image}"
        for name, text in texts.items()
        for image in pinned
        if re.search(rf"(?<![\w/]){re.escape(image)}(?![\w.@-])", text)
    ]
    assert loose == []
