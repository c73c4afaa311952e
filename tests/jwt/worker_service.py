"""The application of these tests, served by several processes."""

from __future__ import annotations

from tests.service import ROOT, Service

TARGET = '[app]\ntarget = "service:app"\n'


class WorkerService(Service):
    """``tests.jwt.harness`` as the file says that follows on the name of the application."""

    def __init__(self, toml: str) -> None:
        super().__init__(TARGET + toml, {"service": "from tests.jwt.harness import app"})

    def prepare(self) -> None:
        super().prepare()
        self.box.environment["PYTHONPATH"] += f":{ROOT}"
