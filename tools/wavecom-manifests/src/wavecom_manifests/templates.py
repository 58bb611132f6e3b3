"""Files that name channels, made from templates and the channels' declarations: `users.yaml` of `users.yaml.j2`.

They are committed: an overlay can be applied with nothing but kustomize, and a review shows what a channel changes.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from jinja2 import Environment, StrictUndefined
from wavecom_common.channels.registry import declared
from wavecom_common.events.routing import retry_name, sender_name
from wavecom_common.hosting.settings import Settings

from wavecom_manifests.objects import Finding
from wavecom_manifests.repository import ROOT

SUFFIX: Final = ".j2"
_HEADER: Final = "# Made of {template} by `make k8s-render`. Do not edit.\n"
# Marks that YAML, the broker's expressions and the templates of others leave free; a statement is a comment to YAML.
_TEMPLATES: Final = Environment(
    variable_start_string="[[",
    variable_end_string="]]",
    line_statement_prefix="#%",
    undefined=StrictUndefined,
    keep_trailing_newline=True,
    autoescape=False,  # noqa: S701 - YAML of our own declarations, no page
)


def templates(root: Path = ROOT) -> list[Path]:
    """Every template."""
    return sorted((root / "deploy").rglob(f"*{SUFFIX}"))


def target(template: Path) -> Path:
    """The file that is made of a template."""
    return template.with_suffix("")


def made(template: Path) -> str:
    """What the template makes of the channels there are.

    Raises:
        jinja2.TemplateError: the template is wrong.
    """
    channels = declared()
    text = _TEMPLATES.from_string(template.read_text()).render(
        channels=list(channels.values()),
        names=list(channels),
        senders=[sender_name(name) for name in channels],
        delays=[retry_name(delay_ms).rpartition(".")[2] for delay_ms in Settings.model_construct().broker_delays_ms],
    )
    return _HEADER.format(template=template.name) + text


def stale() -> Iterator[Finding]:
    """Files that are not what their templates make."""
    for template in templates():
        file = target(template)
        if not file.is_file() or file.read_text() != made(template):
            yield Finding(str(file.relative_to(ROOT)), "is not what its template makes: run `make k8s-render`, commit")
