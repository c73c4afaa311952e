"""``scalekit run`` on a Unix socket."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from http.client import HTTPConnection

from tests.service import Service


class UnixConnection(HTTPConnection):
    """An HTTP connection to the Unix socket at *name*; an abstract one begins with ``@``."""

    def __init__(self, name: str) -> None:
        super().__init__("localhost", timeout=60)
        self.name = name

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(f"\0{self.name[1:]}" if self.name.startswith("@") else self.name)


def ask_unix(name: str, path: str, headers: Mapping[str, str] | None = None) -> str:
    """Return the body of the response to a GET request."""
    connection = UnixConnection(name)
    try:
        connection.request("GET", path, headers=dict(headers or {}))
        response = connection.getresponse()
        text = response.read().decode()
    finally:
        connection.close()
    if response.status >= 400:
        raise OSError(f"{path}: {response.status} {text}")
    return text


class UnixService(Service):
    """A service on ``app.sock`` in its own folder; *toml* is for ``[server]``."""

    def __init__(
        self, toml: str = "", sources: Mapping[str, str] | None = None, plugins: Mapping[str, str] | None = None
    ) -> None:
        super().__init__("", sources, plugins)
        self.server = toml

    @property
    def path(self) -> str:
        return str(self.box.directory / "app.sock")

    def prepare(self) -> None:
        self.toml = f'[server]\nhost = "unix:{self.path}"\n{self.server}\n'
        super().prepare()

    def is_ready(self) -> bool:
        return " on unix:" in self.log() and bool(self.get("/"))

    def get(self, path: str) -> str:
        return ask_unix(self.path, path)
