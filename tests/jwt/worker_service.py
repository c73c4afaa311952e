"""The application of the harness, served by several workers."""

from __future__ import annotations

from tests.service import ROOT, Service

TARGET = '[app]\ntarget = "service:app"\n'


class WorkerService(Service):
    """Serves ``tests.jwt.harness:app`` with the configuration *toml*."""

    def __init__(self, toml: str) -> None:
        super().__init__(TARGET + toml, {"service": "from tests.jwt.harness import app"})

    def prepare(self) -> None:
        super().prepare()
        self.box.environment["PYTHONPATH"] += f":{ROOT}"
