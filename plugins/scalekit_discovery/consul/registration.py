"""What Consul is told about this instance."""

from __future__ import annotations

import socket
from typing import Any

from scalekit import ServerInfo
from scalekit_discovery.config import DiscoveryConfig
from scalekit_discovery.consul.registrar import ConsulRegistration

ANYWHERE = ("0.0.0.0", "::", "")


def registration(config: DiscoveryConfig, served: ServerInfo, hosts: tuple[str, ...]) -> ConsulRegistration:
    """Return how the instance that is *served* is registered; *hosts* are the names that it answers to."""
    address = config.address or _address(config, served.host)
    port = config.port or served.port
    identifier = config.id or f"{config.service}-{address.replace(':', '-')}-{port}"
    probe_host, probe_port = served.management or (served.host, served.port)
    headers = {"Host": hosts[0]} if hosts and not served.management else {}
    check_at = served.management or (address, port)
    check = _check(config, f"{_url(*check_at)}{served.ready_path}", headers)
    definition = {
        "ID": identifier,
        "Name": config.service,
        "Address": address,
        "Port": port,
        "Tags": list(config.tags),
        "Meta": dict(config.meta),
        "Weights": {"Passing": config.weight, "Warning": 1},
        "Check": check,
    }
    if config.namespace:
        definition["Namespace"] = config.namespace
    probe = f"{_url(_loopback(probe_host), probe_port)}{served.ready_path}"
    return ConsulRegistration(
        identifier, definition, probe, headers, config.check_interval if config.check == "ttl" else None
    )


def _check(config: DiscoveryConfig, url: str, headers: dict[str, str]) -> dict[str, Any]:
    check: dict[str, Any] = {
        "DeregisterCriticalServiceAfter": f"{float(config.deregister_after):g}s",
        "Status": "passing",
    }
    if config.check == "ttl":
        return check | {"TTL": f"{float(config.check_interval):g}s"}
    times = {"Interval": f"{float(config.check_interval):g}s", "Timeout": f"{float(config.check_timeout):g}s"}
    asked_as = {"Header": {name: [value] for name, value in headers.items()}} if headers else {}
    return check | {"HTTP": url, "Method": "GET"} | times | asked_as


def _address(config: DiscoveryConfig, host: str) -> str:
    """Return where others reach this machine: what is served, or the address from which Consul is reached."""
    if host not in ANYWHERE:
        return host
    parts = config.consul.parts
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(parts.host, parts.port or 8500, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, protocol) as probe:  # connecting by UDP sends nothing
            probe.connect(place)
            return str(probe.getsockname()[0])
    except OSError:
        return "127.0.0.1"


def _loopback(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
