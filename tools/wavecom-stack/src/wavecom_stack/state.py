"""What a running stack says about itself: written by `make up`, read by whoever wants to find it."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from wavecom_stack.folder import RunFolder
from wavecom_stack.infra import Infra
from wavecom_stack.ports import LOOPBACK
from wavecom_stack.services import Process


@dataclass(frozen=True, kw_only=True)
class State:
    """Where things are.

    Attributes:
        api_url: base address of the REST API.
        admin_urls: base address of the admin port of each process.
    """

    api_url: str
    broker_url: str
    management_url: str | None
    mongodb_url: str
    admin_urls: dict[str, str]

    @classmethod
    def of(cls, infra: Infra, processes: Sequence[Process]) -> "State":
        """Describe a stack."""
        api = next(process for process in processes if process.service.name == "ingest-api")
        return cls(
            api_url=f"http://{LOOPBACK}:{api.port}",
            broker_url=infra.broker_url,
            management_url=infra.management_url,
            mongodb_url=infra.mongodb_url,
            admin_urls={process.name: f"http://{LOOPBACK}:{process.admin_port}" for process in processes},
        )

    def write(self, folder: RunFolder) -> None:
        """Keep it in the folder, readable by its owner only."""
        folder.state.touch(mode=0o600)
        folder.state.write_text(json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def read(cls, folder: RunFolder) -> "State | None":
        """What the folder holds; None when no stack got that far."""
        return cls(**json.loads(folder.state.read_text())) if folder.state.exists() else None
