"""ScaleKit itself as a server under test: ``scalekit run`` in a process of its own."""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.processes import HOST, wait_for
from tests.servers import Server, ask

ROOT = Path(__file__).parent.parent
APPLICATION = """\
import asyncio


async def app(scope, receive, send):
    if scope["type"] != "http":
        raise ValueError(scope["type"])
    if scope["path"].startswith("/sleep/"):
        await asyncio.sleep(float(scope["path"].removeprefix("/sleep/")))
    length = 0
    while True:
        message = await receive()
        length += len(message.get("body", b""))
        if not message.get("more_body"):
            break
    body = b"%s %d" % (scope["path"].encode(), length)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})
"""


def install_plugin(folder: Path, plugin: str, source: str) -> None:
    """Install a plugin of one module in *folder*, which must be on the import path."""
    information = folder / f"{plugin}-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {plugin}\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(f"[scalekit]\n{plugin} = module_{plugin}\n")
    (folder / f"module_{plugin}.py").write_text(source)


class Service(Server):
    """``scalekit run`` with *toml*, modules of the given *sources*, and plugins of one module each.

    The target is ``service:app``, by default APPLICATION.
    """

    name = "scalekit"
    stop_signal = signal.SIGTERM

    def __init__(
        self, toml: str = "", sources: Mapping[str, str] | None = None, plugins: Mapping[str, str] | None = None
    ) -> None:
        self.toml = toml
        self.sources = {"service": APPLICATION, **(sources or {})}
        self.plugins = plugins or {}

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def pid(self) -> int:
        return self.process.pid

    def prepare(self) -> None:
        for module, source in self.sources.items():
            self.box.write(f"{module}.py", source)
        for plugin, source in self.plugins.items():
            install_plugin(self.box.directory, plugin, source)
        self.box.write("scalekit.toml", self.toml)
        self.box.environment |= {"PYTHONPATH": f"{ROOT}/tests/example", "PYTHONUNBUFFERED": "1"}

    def command(self) -> list[object]:
        options = ["--set", f"server.port={self.port}", "--set", "app.target=service:app"]
        return [sys.executable, "-m", "scalekit", "run", "scalekit.toml", *options]

    def is_ready(self) -> bool:
        return self.get("/health/ready") == '{"status":"ready"}'

    def get(self, path: str) -> str:
        return ask(self.port, "GET", path)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self, limit: float = 120.0) -> int:
        """Wait until the process has exited, and return its exit status."""
        return self.process.wait(limit)

    def log(self) -> str:
        return (self.box.directory / "server.log").read_text()

    def wait_for_log(self, text: str) -> None:
        wait_for(f"{text!r} in the log", lambda: text in self.log(), self.process)


class Foreign(Service):
    """A service under another *server* that imports ``scalekit.asgi:app``: uvicorn, granian or hypercorn."""

    name = "foreign"
    death_signal = signal.SIGTERM  # a killed server may leave its workers

    def __init__(
        self,
        server: str,
        toml: str = "",
        sources: Mapping[str, str] | None = None,
        plugins: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__('[app]\ntarget = "service:app"\n' + toml, sources, plugins)
        self.server = server

    def prepare(self) -> None:
        super().prepare()
        self.box.environment["PYTHONPATH"] += f":{self.box.directory}"

    def command(self) -> list[object]:
        port = str(self.port)
        options = {
            "uvicorn": ["--host", HOST, "--port", port, "--no-proxy-headers", "--no-access-log"],
            "granian": ["--interface", "asgi", "--host", HOST, "--port", port, "--no-access-log"],
            "hypercorn": ["--bind", f"{HOST}:{port}"],
        }[self.server]
        return [sys.executable, "-m", self.server, *options, "scalekit.asgi:app"]
