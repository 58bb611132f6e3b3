"""Files that name channels are what their templates make of the declarations, whichever channels there are."""

import re
from dataclasses import replace

import pytest
import yaml
from wavecom_common.channels.registry import declared
from wavecom_common.events.channels import CHANNELS
from wavecom_manifests import templates
from wavecom_manifests.repository import ROOT


def test_every_file_is_what_its_template_makes() -> None:
    assert [str(finding) for finding in templates.stale()] == [], "run `make k8s-render` and commit"


def test_a_file_that_was_edited_or_is_missing_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(templates, "made", lambda template: "something else")
    assert len(list(templates.stale())) == len(templates.templates()) > 5


@pytest.mark.parametrize("template", templates.templates(), ids=lambda path: path.name)
def test_a_template_makes_a_channels_part_of_its_declaration_alone(
    template: templates.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fax = replace(next(iter(declared().values())), name="fax", environment={}, egress=(9_999,), messages_per_copy=7)
    monkeypatch.setattr(templates, "declared", lambda: {"fax": fax})
    made = templates.made(template)
    assert "fax" in made
    assert not re.search(rf"(?<![a-z])(?:{'|'.join(CHANNELS)})-sender|\((?:{'|'.join(CHANNELS)})\|", made)
    assert list(yaml.safe_load_all(made))


def test_nothing_written_by_hand_names_a_sender() -> None:
    # An operator's own settings of a channel, and cases with made-up figures.
    for path in (ROOT / "deploy").rglob("*.yaml"):
        text = path.read_text()
        if "Do not edit." not in text and path.name not in {"mail.yaml", "alerts.cases.yaml"}:
            assert not re.search(rf"(?:{'|'.join(CHANNELS)})-sender", text), path
