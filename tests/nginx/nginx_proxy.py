"""nginx in front of services, with the configuration that `scalekit nginx config` writes."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping

from tests.processes import HOST, Process, family, wait_for
from tests.servers import Nginx, ask, find

TABLE = "plugins.nginx"


class NginxProxy(Nginx):
    """nginx with the configuration that the command writes for *tables*; with *watch*, the command keeps running."""

    def __init__(self, tables: Mapping[str, str], *, watch: bool = False) -> None:
        super().__init__()
        self.tables = tables
        self.watch = watch
        self.watcher: Process | None = None

    def prepare(self) -> None:
        user = 'user = "root"\n'
        listen = f'[{TABLE}]\nlisten = "{HOST}:{self.port}"\ndirectory = "{self.box.directory}"\n'
        nginx = f"{listen}{user}worker_processes = 1\n{self.tables.get(TABLE, '')}\n"
        others = "".join(f"[{name}]\n{content}\n" for name, content in self.tables.items() if name != TABLE)
        self.box.write("scalekit.toml", nginx + others)
        self.box.environment["PYTHONUNBUFFERED"] = "1"
        if self.watch:
            self.watcher = self.box.spawn(*self._command_line, "--watch", log="watcher.log")
            wait_for("a configuration", (self.box.directory / "nginx.conf").exists, self.watcher)
        else:
            self.box.run(*self._command_line)

    @property
    def _command_line(self) -> list[object]:
        return [sys.executable, "-m", "scalekit", "nginx", "config", "--output", "nginx.conf", "--reload"]

    def command(self) -> list[object]:
        folder = self.box.directory
        return [find("nginx"), "-p", folder, "-c", folder / "nginx.conf", "-e", folder / "error.log"]

    def is_ready(self) -> bool:
        return len(family(self.process.pid)) > 1 and super().is_ready()

    def get(self, path: str) -> str:
        return ask(self.port, "GET", path)

    def configuration(self) -> str:
        return (self.box.directory / "nginx.conf").read_text()


def upstreams(*ports: int) -> str:
    """Return the key `upstreams` with the instances on these *ports* of this machine."""
    return f"upstreams = {json.dumps([f'{HOST}:{port}' for port in ports])}"
