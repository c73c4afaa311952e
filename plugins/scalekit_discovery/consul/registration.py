"""Build the registration of this instance for Consul's agent API."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scalekit import ServerInfo, StartError
from scalekit_discovery.config import DiscoveryConfig

WILDCARDS = ("0.0.0.0", "::", "")


@dataclass(frozen=True, slots=True)
class ConsulRegistration:
    """Consul's service *definition*, and the URL of this process's readiness."""

    id: str
    definition: Mapping[str, Any]
    readiness_url: str
    readiness_headers: Mapping[str, str]
    ttl: float | None = None

    @property
    def check_id(self) -> str:
        """The id that Consul gives the service's only check."""
        return f"service:{self.id}"


def build_registration(config: DiscoveryConfig, server: ServerInfo, hosts: tuple[str, ...]) -> ConsulRegistration:
    """Return the registration of the instance bound at *server*; the first of *hosts* is sent as Host by the check.

    Raises StartError when it has no address that Consul and other services can reach.
    """
    checked = server.management[0] if server.management else server.host
    called = config.address if config.address and config.port else server.host
    unreachable = next((host for host in (checked, called) if host.startswith("unix:")), None)
    if unreachable is not None:
        raise StartError(
            f"Consul and callers cannot reach the Unix socket {unreachable}; "
            "set server.management_address to host:port, and address and port of [plugins.discovery]"
        )
    address = config.address or _address(config, server.host)
    port = config.port or server.port
    service_id = config.id or f"{config.service}-{address.replace(':', '-')}-{port}"
    local_host, local_port = server.management or (server.host, server.port)
    headers = {"Host": hosts[0]} if hosts and not server.management else {}
    check_address = (_address(config, local_host), local_port) if server.management else (address, port)
    scheme = "https" if server.tls and not server.management else "http"
    definition = {
        "ID": service_id,
        "Name": config.service,
        "Address": address,
        "Port": port,
        "Tags": list(config.tags),
        "Meta": ({"scheme": "https"} if server.tls else {}) | dict(config.meta),
        "Weights": {"Passing": config.weight, "Warning": 1},
        "Check": _check(config, f"{scheme}://{_authority(*check_address)}{server.ready_path}", headers),
    }
    if config.namespace:
        definition["Namespace"] = config.namespace
    return ConsulRegistration(
        id=service_id,
        definition=definition,
        readiness_url=f"{scheme}://{_authority(_loopback(local_host), local_port)}{server.ready_path}",
        readiness_headers=headers,
        ttl=config.check_interval if config.check_type == "ttl" else None,
    )


def _check(config: DiscoveryConfig, url: str, headers: dict[str, str]) -> dict[str, Any]:
    check: dict[str, Any] = {
        "DeregisterCriticalServiceAfter": f"{float(config.deregister_after):g}s",
        "Status": "passing",
    }
    if config.check_type == "ttl":
        return check | {"TTL": f"{float(config.check_interval):g}s"}
    times = {"Interval": f"{float(config.check_interval):g}s", "Timeout": f"{float(config.check_timeout):g}s"}
    header = {"Header": {name: [value] for name, value in headers.items()}} if headers else {}
    # The certificate names the service, not the address of this instance.
    unverified = {"TLSSkipVerify": True} if url.startswith("https:") else {}
    return check | {"HTTP": url, "Method": "GET"} | times | header | unverified


def _address(config: DiscoveryConfig, host: str) -> str:
    """Return the bind address, or for a wildcard the local address from which Consul is reached."""
    if host not in WILDCARDS:
        return host
    parts = config.consul.parts
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(parts.host, parts.port or 8500, type=socket.SOCK_DGRAM)[
            0
        ]
        with socket.socket(family, kind, protocol) as probe:  # connecting a UDP socket sends no packet
            probe.connect(target)
            return str(probe.getsockname()[0])
    except OSError:
        return "127.0.0.1"


def _loopback(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
