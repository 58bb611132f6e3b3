"""Every setting there is, from the classes that read them."""

from importlib import import_module
from typing import Final

from pydantic import SecretStr
from wavecom_common.hosting.sender import SenderSettings
from wavecom_common.hosting.settings import Settings
from wavecom_stack.services import SERVICES, Service


def _class_of(service: Service) -> type[Settings]:
    package, *mode = service.arguments
    module = import_module(f"{package}.settings")
    found = [
        kind
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Settings) and kind.__module__ == module.__name__
    ]
    # A package of two processes has a class for each, named after what follows the package's name.
    [own] = [kind for kind in found if not mode or kind.__name__.lower().startswith(mode[0])]
    return own


def _shown(default: object) -> str:
    if isinstance(default, SecretStr):
        return default.get_secret_value()
    return "unset" if default in (None, "") else str(default)


CLASSES: Final = {service.name: _class_of(service) for service in SERVICES}

# The processes that a word of a table stands for.
GROUPS: Final = {
    "all": list(CLASSES),
    "senders": [name for name, kind in CLASSES.items() if issubclass(kind, SenderSettings)],
    **{name: [name] for name in CLASSES},
}

# By sender and variable: the defaults of its channel's own settings, which its folder's README has.
OWN: Final[dict[str, dict[str, str]]] = {
    name: {f"WAVECOM_{field.upper()}": _shown(kind.model_fields[field].default) for field in kind.__annotations__}
    for name, kind in CLASSES.items()
    if issubclass(kind, SenderSettings)
}

# By variable: the default of each process that reads it; of a sender, of what all senders have.
SETTINGS: Final[dict[str, dict[str, str]]] = {}
for _process, _kind in CLASSES.items():
    _fields = SenderSettings.model_fields if _process in OWN else _kind.model_fields
    for _name, _field in _fields.items():
        SETTINGS.setdefault(f"WAVECOM_{_name.upper()}", {})[_process] = _shown(_field.default)
