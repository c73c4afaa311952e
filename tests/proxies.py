"""nginx, Caddy and HAProxy in front of services, with the configuration that `scalekit deploy` generates."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import ClassVar

from scalekit.deploy.caddy import CADDY
from scalekit.deploy.haproxy import HAPROXY
from scalekit.deploy.inspection import describe_service
from scalekit.deploy.kind import DeployKind
from scalekit.deploy.reverse_proxy import CertificateFiles
from scalekit_nginx.deploy_kind import NGINX
from tests.processes import HOST, family
from tests.servers import Server, find


class Proxy(Server):
    """A reverse proxy in front of *upstreams*; *server* is the content of ``[server]`` of the services."""

    name = "proxy"
    kind: ClassVar[DeployKind]
    server_names: tuple[str, ...] = ()
    file: Path

    def __init__(self, *upstreams: int, server: str = "", tls: CertificateFiles | None = None) -> None:
        self.upstreams = [f"{HOST}:{port}" for port in upstreams]
        self.server = server
        self.tls = tls

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{HOST}:{self.port}"

    def prepare(self) -> None:
        self.box.write("scalekit.toml", f"[app]\nname = 'shop'\n[server]\n{self.server}\n{self.plugins}")
        service = describe_service("scalekit.toml", (), "scalekit deploy", self.box.directory)
        options = {
            "instances": tuple(self.upstreams),
            "listen": f"{HOST}:{self.port}",
            "server_names": self.server_names,
            "tls_cert": self.tls and self.tls.cert_file,
            "tls_key": self.tls and self.tls.key_file,
            "operator_pages": False,
            "read_timeout": None,
        }
        (self.file,) = (self.box.write(*item) for item in self.kind.generate(service, options).items())

    def log(self) -> str:
        """Return the text of all logs."""
        return "".join(path.read_text() for path in self.box.directory.glob("*.log"))

    @property
    def plugins(self) -> str:
        """The tables of plugins in the file."""
        return ""


class NginxFront(Proxy):
    """nginx with the configuration of its plugin."""

    kind = NGINX
    death_signal = signal.SIGTERM  # a killed master would leave its workers

    @property
    def plugins(self) -> str:
        user = 'user = "root"\n' if os.geteuid() == 0 else ""
        return f'[plugins.nginx]\ndirectory = "{self.box.directory}"\nworker_processes = 1\n{user}'

    def command(self) -> list[object]:
        folder = self.box.directory
        paths = ["-p", folder, "-c", self.file, "-e", folder / "error.log"]
        return [find("nginx"), *paths, "-g", "daemon off;"]

    def is_ready(self) -> bool:
        # The master listens before its worker has started.
        return len(family(self.process.pid)) > 1 and super().is_ready()


class CaddyFront(Proxy):
    """Caddy, whose own interface is on a second port."""

    kind = CADDY
    port_count = 2

    def command(self) -> list[object]:
        self.box.environment |= {"XDG_DATA_HOME": str(self.box.directory), "CADDY_ADMIN": f"{HOST}:{self.ports[1]}"}
        return [find("caddy"), "run", "--adapter", "caddyfile", "--config", self.file]


class HAProxyFront(Proxy):
    """HAProxy in HTTP mode."""

    kind = HAPROXY

    def command(self) -> list[object]:
        return [find("haproxy"), "-f", self.file, "-db"]


FRONTS: dict[str, type[Proxy]] = {"nginx": NginxFront, "caddy": CaddyFront, "haproxy": HAProxyFront}
