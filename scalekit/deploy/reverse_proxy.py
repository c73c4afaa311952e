"""The settings that all reverse proxies in front of a service share: addresses, limits and timeouts.

They follow the file, so that proxy and service agree: both have the same limits, the proxy closes idle connections
first, and it sees that an instance drains before the instance closes its listener.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import quote

from scalekit.config.field_types import is_loopback, loopback_of, socket_path
from scalekit.config.tables import Server, split_address

DEFAULT_LISTEN = "127.0.0.1:8080"
"""Address on which a proxy listens unless another one is named."""
CONNECT_TIMEOUT = 2.0
"""Seconds for a connection to an instance."""
READ_TIMEOUT = 60.0
"""Seconds that an instance may send nothing, unless another time is named."""
MAX_TRIES = 3
"""Instances to which one request is sent, at most."""
TRIES_TIMEOUT = 10.0
"""Seconds after the arrival of a request within which it may be sent to another instance."""
CHECK_TIMEOUT = 2.0
"""Seconds for the response to a health check."""
MAX_IDLE_TIME = 60.0
"""Seconds after which a proxy closes an unused connection to an instance, at most."""
IDLE_MARGIN = 5.0
"""Seconds by which it closes an idle connection before the instance does."""
CHECK_INTERVALS = (0.1, 2.0)
PLAIN_PATH = re.compile(r"[A-Za-z0-9_./@+,=~-]+")
SERVER_NAME = re.compile(r"(\*\.)?[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
HOST = re.compile(r"[A-Za-z0-9_.-]+|[0-9a-fA-F:.]+")


@dataclass(frozen=True, slots=True)
class ProxiedInstance:
    """One instance: ``host:port`` or ``unix:/PATH``, and the address of its health pages, empty when out of reach."""

    address: str
    health_address: str

    @property
    def socket(self) -> str:
        """The path of the Unix socket, or its abstract name after ``@``; empty for a TCP address."""
        return socket_path(self.address)

    @property
    def health_port(self) -> int | None:
        """The port of the health pages, or None when it is that of the instance or out of reach."""
        if not self.health_address or self.health_address == self.address or self.socket:
            return None
        return split_address(self.health_address)[1]


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """The certificate that a proxy presents: PEM files of the chain and of the private key."""

    cert_file: str
    key_file: str


@dataclass(frozen=True, slots=True)
class ReverseProxy:
    """A reverse proxy: where it listens, and the instances of the service *name* behind it.

    *exposes_operators* passes requests below ``/-/`` and for *metrics_path*, empty without metrics, on; the service
    still checks who is an operator. *read_timeout* is how many seconds an instance may send nothing.
    """

    name: str
    server: Server
    instances: tuple[ProxiedInstance, ...]
    health_path: str
    listen: str = DEFAULT_LISTEN
    server_names: tuple[str, ...] = ()
    tls: CertificateFiles | None = None
    exposes_operators: bool = False
    metrics_path: str = ""
    read_timeout: float = READ_TIMEOUT

    @property
    def networks(self) -> list[str]:
        """The networks of trusted proxies in front of this one, in CIDR notation."""
        return [str(each) for each in dict.fromkeys(self.server.trusted_proxies) if each != "unix"]

    @property
    def notes(self) -> list[str]:
        """What the operator must do, as comment lines."""
        if self.server.trusted_proxies:
            return []
        return [
            "# [server] trusted_proxies is empty: write the address of this proxy there. Without it the service takes",
            "# the address of the proxy for that of every client.",
        ]

    @property
    def sends_forwarded(self) -> bool:
        """Whether the service reads ``Forwarded`` (RFC 7239) instead of ``X-Forwarded-*``."""
        return self.server.forwarded_headers == "forwarded"

    @property
    def hidden_paths(self) -> list[str]:
        """Paths that are not served, beside those below ``/-/``: that of metrics, which is public on the service."""
        return [] if self.exposes_operators or not self.metrics_path else [self.metrics_path]

    @property
    def readiness_path(self) -> str:
        """The path of the readiness page, percent-encoded."""
        return quote(f"{self.health_path}/ready", safe="/-._~")

    @property
    def checks_health(self) -> bool:
        """Whether the health pages of all instances are within reach."""
        return all(instance.health_address for instance in self.instances)

    @property
    def max_body(self) -> int:
        """The limit of a request body in bytes; proxies take 0 for no limit, so it is at least 1."""
        return max(1, int(self.server.max_body))

    @property
    def check_interval(self) -> float:
        """Seconds between health checks: two failures are seen within half of ``drain_delay``."""
        shortest, longest = CHECK_INTERVALS
        return max(shortest, min(longest, self.server.drain_delay / 5)) if self.server.drain_delay else 1.0


def idle_time(server: Server) -> float:
    """Return after how many seconds a proxy closes an unused connection to an instance.

    The proxy must close it first: a POST is lost when the instance closes the connection at the moment the proxy sends
    on it. A draining instance asks to close every connection after its next response, so only unused ones remain then.
    """
    while_draining = server.drain_delay / 2 if server.drain_delay else MAX_IDLE_TIME
    return max(0.1, min(MAX_IDLE_TIME, server.keep_alive_timeout - IDLE_MARGIN, while_draining))


def own_instance(server: Server) -> ProxiedInstance:
    """Return the instance at the address of ``[server]``; a wildcard address becomes the loopback address."""
    if server.host.startswith("unix:"):
        return ProxiedInstance(server.host, _health_address(server, server.host))
    host = loopback_of(server.host)
    return proxied_instance(server, f"[{host}]:{server.port}" if ":" in host else f"{host}:{server.port}")


def proxied_instance(server: Server, address: str) -> ProxiedInstance:
    """Return the instance at *address*, with the port of ``management_address`` for its health pages.

    Raises ValueError when *address* is not ``host:port``.
    """
    return ProxiedInstance(check_address(address), _health_address(server, address))


def _health_address(server: Server, address: str) -> str:
    """Return where the health pages of the instance at *address* are, empty when the proxy cannot reach them."""
    if server.management_address is None:
        return address
    if socket_path(server.management_address) or socket_path(address):
        return ""
    management_host, port = split_address(server.management_address)
    host = split_address(address)[0]
    if is_loopback(management_host) and not is_loopback(host):
        return ""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def check_address(address: str) -> str:
    """Return *address*; raise ValueError when it is not ``host:port``."""
    host, port = split_address(address)
    if not port or not HOST.fullmatch(host):
        raise ValueError(f'expected host:port, such as "10.0.0.5:8000" or "[::1]:8000", got {address!r}')
    return address


def check_server_name(name: str) -> str:
    """Return *name*; raise ValueError when it is not a host name."""
    if not SERVER_NAME.fullmatch(name):
        raise ValueError(f'expected a host name such as "shop.example" or "*.shop.example", got {name!r}')
    return name


def check_file(path: str) -> str:
    """Return *path*; raise ValueError when it has characters that a configuration file cannot hold unquoted."""
    if not PLAIN_PATH.fullmatch(path):
        raise ValueError(f'expected a path of letters, digits and "_ . / @ + , = ~ -", got {path!r}')
    return str(PurePosixPath(path))


def duration(seconds: float) -> str:
    """Return *seconds* in the notation of all proxies, between 1 ms and 24 days, the longest that all of them take."""
    bounded = min(max(0.001, seconds), (2**31 - 1) / 1000)
    return f"{bounded:.0f}s" if bounded == int(bounded) else f"{round(bounded * 1000)}ms"
