"""The settings a manifest gives to a process, as the process will see them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from wavecom_common.hosting.settings import Settings

from wavecom_manifests.objects import Container, Finding, Manifests

PREFIX: Final = "WAVECOM_"


@dataclass(frozen=True)
class Environment:
    """The variables of one container: literal values, and those whose value is in a secret or known at run time."""

    literal: Mapping[str, str]
    hidden: frozenset[str]

    @classmethod
    def of(cls, container: Container, manifests: Manifests) -> "Environment":
        """Variables taken whole from ConfigMaps first, then its own, as Kubernetes does."""
        literal: dict[str, str] = {}
        for source in container.spec.get("envFrom", []):
            settings = manifests.find("ConfigMap", source.get("configMapRef", {}).get("name", ""))
            literal |= settings.body["data"] if settings else {}
        own = container.variables
        literal |= {name: str(variable["value"]) for name, variable in own.items() if "value" in variable}
        return cls(literal, frozenset(name for name, variable in own.items() if "valueFrom" in variable))

    @property
    def names(self) -> frozenset[str]:
        """All variables."""
        return self.hidden.union(self.literal)

    @property
    def ours(self) -> Mapping[str, Any]:
        """The values of our own settings, by field name, without those from secrets."""
        return {
            name.removeprefix(PREFIX).lower(): value for name, value in self.literal.items() if name.startswith(PREFIX)
        }


def load(settings: type[Settings], environment: Environment) -> Settings:
    """The settings a process would start with; nothing is taken from the environment of the checks themselves.

    Raises:
        ValidationError: it would not start.
    """
    return _isolated(settings)(**environment.ours)


def problems(where: str, settings: type[Settings], environment: Environment) -> list[Finding]:
    """Variables that are no settings of the process, and values it would refuse at its start."""
    found = [
        Finding(where, f"{name} is no setting of this process")
        for name in sorted(environment.names)
        if name.startswith(PREFIX) and name.removeprefix(PREFIX).lower() not in settings.model_fields
    ]
    try:
        load(settings, environment)
    except ValidationError as error:
        for one in error.errors(include_input=False, include_url=False):
            variable = PREFIX + "_".join(str(part) for part in one["loc"]).upper()
            found.append(Finding(where, f"{variable}: {one['msg']}"))
    return found


def _isolated(settings: type[Settings]) -> type[Settings]:
    class Isolated(settings):  # type: ignore[misc, valid-type]
        model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True)

        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return (init_settings,)

    return Isolated
