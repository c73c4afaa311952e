"""``scalekit run`` with TLS, and raw connections to it."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from http.client import HTTPSConnection
from typing import Any

from tests.certificates import Authority, CertificateFiles
from tests.processes import HOST
from tests.service import Service


class TlsService(Service):
    """A service whose certificate is in its own folder, issued by ``authority``; *toml* is for ``[server]``."""

    files: CertificateFiles
    authority: Authority

    def __init__(
        self,
        toml: str = "",
        more: str = "",
        sources: Mapping[str, str] | None = None,
        tls: str = "",
        plugins: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__("", sources, plugins)
        self.server = toml
        self.more = more
        self.tls = tls

    def prepare(self) -> None:
        self.authority = Authority(self.box.directory)
        self.files = self.authority.issue("shop")
        self.toml = f"[server]\n{self.server}\n[server.tls]\n{self.files.toml}{self.tls}\n{self.more}"
        super().prepare()

    @property
    def url(self) -> str:
        return f"https://{HOST}:{self.port}"

    def is_ready(self) -> bool:
        workers = " workers on https" in self.log() or "workers" not in self.server
        return workers and super().is_ready()

    def get(self, path: str) -> str:
        connection = self.connection()
        try:
            connection.request("GET", path)
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def client_context(self) -> ssl.SSLContext:
        """Return a context that trusts the authority alone."""
        return ssl.create_default_context(cafile=str(self.authority.file))

    def connection(self) -> HTTPSConnection:
        return HTTPSConnection(HOST, self.port, timeout=60, context=self.client_context())

    def connect(self, context: ssl.SSLContext | None = None) -> ssl.SSLSocket:
        """Return a connection after its handshake."""
        plain = socket.create_connection((HOST, self.port), timeout=60)
        return (context or self.client_context()).wrap_socket(plain, server_hostname="localhost")

    def certificate_name(self) -> str:
        """Return the common name in the certificate of a new connection."""
        with self.connect() as connection:
            subject: Any = (connection.getpeercert() or {})["subject"]
        return str(dict(pair for group in subject for pair in group)["commonName"])
