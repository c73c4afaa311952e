"""The sample application as the load scenarios expect it: its limits do not stand in the way."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from tests.processes import HOST
from tests.servers import Server, ask
from tests.service import ROOT

FILE = ROOT / "sample_app/load.toml"
UNLIMITED = (
    "plugins.ratelimit.default=1000000/s",
    'plugins.ratelimit.policies=[{name = "login-name", limit = "1000000/s", key = "application"}]',
)
"""What `load.toml` says, for other files: one machine asks more often than any client may."""


class Sample(Server):
    """``scalekit run`` with *file*, in a folder of its own, and the environment that the file names."""

    name = "sample"
    start_limit = 60.0

    def __init__(self, *options: str, file: Path = FILE, environment: Mapping[str, str] | None = None) -> None:
        self.options = options
        self.file = file
        self.environment = environment or {}

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def pid(self) -> int:
        return self.process.pid

    def command(self) -> list[object]:
        self.box.environment |= {**self.environment, "PORT": str(self.port), "PYTHONPATH": str(ROOT)}
        options = [part for option in self.options for part in ("--set", option)]
        return [sys.executable, "-m", "scalekit", "run", self.file, *options]

    def answers(self) -> bool:
        return ask(self.port, "GET", "/health/ready") == '{"status":"ready"}'


class Inventory(Sample):
    """The second service, which the first one calls."""

    name = "inventory"

    def __init__(self) -> None:
        super().__init__(file=ROOT / "sample_app/inventory.toml")

    def command(self) -> list[object]:
        self.box.environment["INVENTORY_PORT"] = str(self.port)
        return super().command()
