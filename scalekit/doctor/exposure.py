"""Diagnostics of ``[server]``: defaults that are unsafe where other machines can connect."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from scalekit.config.field_types import is_loopback, socket_path
from scalekit.config.tables import Server, split_address
from scalekit.diagnostic import Diagnostic, Finding, Severity
from scalekit.host import Host


def exposure_diagnostics(host: Host) -> list[Diagnostic]:
    """Return the diagnostics of the addresses of *host*, and of its file."""
    server = host.settings.server

    async def exposure() -> Sequence[Finding]:
        return [
            *network_findings(server),
            *(public_findings(server) if server.role == "web" and is_public(server.host) else ()),
            *management_findings(server.management_address),
        ]

    async def file() -> Sequence[Finding]:
        return list(file_mode_findings(Path(host.settings.document.name)))

    return [Diagnostic("unsafe defaults", exposure), Diagnostic("mode of the file", file)]


def is_public(host: str) -> bool:
    """Return whether other machines can connect to the listen address *host*."""
    return not socket_path(host) and not is_loopback(host)


def public_findings(server: Server) -> Iterator[Finding]:
    """Yield what is unsafe on a public address."""
    if server.tls is None and not server.trusted_proxies:
        yield Finding(
            "plain-http",
            Severity.WARNING,
            f"{server.host} serves plain HTTP and names no proxy: passwords, cookies and tokens are readable",
            "set tls in [server], or listen on 127.0.0.1 behind a proxy and name it in trusted_proxies",
            "server.tls",
            "none",
        )
    if not server.allowed_hosts:
        yield Finding(
            "allowed-hosts",
            Severity.WARNING,
            "every Host header is accepted: a forged one gets into links, redirects and caches",
            'set allowed_hosts in [server], such as ["shop.example"]',
            "server.allowed_hosts",
            "[]",
        )
    if not server.has_operators:
        yield Finding(
            "operators",
            Severity.WARNING,
            "no operator is named: nobody can read details of health, metrics and operator pages",
            "set operator_token or operator_networks in [server], or management_address",
            "server.operator_token",
            "none",
        )


def network_findings(server: Server) -> Iterator[Finding]:
    """Yield networks that name every client."""
    if _all_clients(each for each in server.trusted_proxies if not isinstance(each, str)):
        yield Finding(
            "trusted-proxies",
            Severity.ERROR if is_public(server.host) else Severity.WARNING,
            "forwarded headers of every client are trusted: each can pretend any address, also that of an operator",
            "name only the networks of the proxies in trusted_proxies",
            "server.trusted_proxies",
            ", ".join(map(str, server.trusted_proxies)),
        )
    if _all_clients(server.operator_networks):
        yield Finding(
            "operators",
            Severity.ERROR,
            "every client is an operator: operator pages show the configuration and change the service",
            "name only the networks of operators in operator_networks, or use operator_token",
            "server.operator_networks",
            ", ".join(map(str, server.operator_networks)),
        )


def management_findings(address: str | None) -> Iterator[Finding]:
    """Yield whether other machines can connect to the management *address*, all of whose clients are operators."""
    if address is not None and not socket_path(address) and is_public(split_address(address)[0]):
        yield Finding(
            "management-address",
            Severity.WARNING,
            f"all clients of the management address {address} are operators, and other machines can connect to it",
            "listen on 127.0.0.1 or a Unix socket, or let a firewall or a network policy admit only operators",
            "server.management_address",
            address,
        )


def file_mode_findings(file: Path) -> Iterator[Finding]:
    """Yield whether other users can write *file*, which names code to run."""
    try:
        mode = os.stat(file).st_mode
    except OSError:  # no file: the configuration is that of a call
        return
    if mode & (stat.S_IWOTH | stat.S_IWGRP) and hasattr(os, "getuid"):
        yield Finding(
            "file-mode",
            Severity.ERROR if mode & stat.S_IWOTH else Severity.ADVICE,
            f"other users can write {file}, which names the code that the service runs",
            f"chmod go-w {file}",
            str(file),
            stat.filemode(mode),
        )


def _all_clients(networks: Iterable[IPv4Network | IPv6Network]) -> bool:
    return any(network.prefixlen == 0 for network in networks)
