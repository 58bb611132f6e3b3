"""What is declared is there; what is wrong with a declaration is said in one line, and the process does not start."""

import subprocess
import sys
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, Literal

import pytest
from wavecom_common.channels import registry
from wavecom_common.channels.declaration import Channel
from wavecom_common.channels.request import ChannelRequest, NoSubject
from wavecom_common.events import channels
from wavecom_common.events.channels import CHANNELS, GROUP, BrokenChannel


class FaxRequest(ChannelRequest):
    """A notification by fax."""

    channel: Literal["fax"]
    subject: NoSubject = None


FAX = Channel(
    name="fax",
    request=FaxRequest,
    example={"channel": "fax", "recipient": "+1555", "message": "Hello"},
    sandbox="+1555{}".format,
    settings="fax_sender.settings:FaxSenderSettings",
)


def test_every_installed_channel_is_declared_in_the_order_of_the_names() -> None:
    assert list(registry.declared()) == list(CHANNELS) == sorted(CHANNELS)
    assert all(channel.name == name for name, channel in registry.declared().items())


def test_nothing_is_wrong_with_a_sound_declaration() -> None:
    assert registry.complaint_about("fax", FAX) is None


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"name": "telex"}, "its declaration is named 'telex': give it the entry point's name"),
        ({"request": ChannelRequest}, "has to be declared with `channel: Literal['fax']`"),
        ({"sandbox": lambda number: "+1555"}, "gives two numbers the same recipient"),
        ({"sandbox": lambda number: number}, "its request refuses its own sandbox: recipient"),
        ({"example": {"channel": "fax", "recipient": "+1555"}}, "its request refuses its own example: message"),
        ({"example": FAX.example | {"subject": "Hi"}}, "its request refuses its own example: subject"),
    ],
)
def test_what_is_wrong_with_a_declaration_is_named(changed: dict[str, Any], complaint: str) -> None:
    assert complaint in (registry.complaint_about("fax", replace(FAX, **changed)) or "")


def test_what_cannot_be_loaded_or_is_no_channel_is_named_with_its_package() -> None:
    with pytest.raises(
        BrokenChannel, match=r"^wavecom: channel 'fax' of package unknown: nowhere:FAX cannot be loaded"
    ):
        registry.load(EntryPoint("fax", "nowhere:FAX", GROUP))
    with pytest.raises(BrokenChannel, match="is a module: make it a Channel"):
        registry.load(EntryPoint("fax", "json", GROUP))


@pytest.mark.parametrize(
    ("points", "complaint"),
    [
        ([("Fax", "a:A")], "use 2 to 20 small letters"),
        ([("fax-2", "a:A")], "use 2 to 20 small letters"),
        ([("fax", "a:A"), ("fax", "b:B")], "a:A has this name, too"),
        ([], "no channel is installed"),
    ],
)
def test_a_name_that_is_none_or_is_taken_or_none_at_all_is_refused(
    points: list[tuple[str, str]], complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [EntryPoint(name, value, GROUP) for name, value in points]
    monkeypatch.setattr(channels, "entry_points", lambda group: found)
    with pytest.raises(BrokenChannel, match=complaint):
        channels.installed()


@pytest.mark.parametrize("name", ["fax", "FAX"])
def test_a_process_that_needs_a_broken_declaration_does_not_start_and_says_so_in_one_line(
    name: str, tmp_path: Path
) -> None:
    package = tmp_path / "fax_sender-1.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: fax-sender\nVersion: 1\n")
    (package / "entry_points.txt").write_text(f"[{GROUP}]\n{name} = fax_sender.channel:CHANNEL\n")
    done = subprocess.run(
        [sys.executable, "-m", "ingest_api"],
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith(f"wavecom: channel {name!r} of package fax-sender: ")
