"""The sample application with rate limits high enough for the load scenarios."""

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
"""The rate limits of `load.toml`, for other files: k6 sends more requests than one client is allowed."""


class Sample(Server):
    """``scalekit run`` with *file* in a temporary folder, with *environment*."""

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

    def is_ready(self) -> bool:
        return ask(self.port, "GET", "/health/ready") == '{"status":"ready"}'


class Inventory(Sample):
    """The inventory service, which the sample application calls."""

    name = "inventory"

    def __init__(self) -> None:
        super().__init__(file=ROOT / "sample_app/inventory.toml")

    def command(self) -> list[object]:
        self.box.environment["INVENTORY_PORT"] = str(self.port)
        return super().command()
