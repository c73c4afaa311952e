"""Authorize operators to see health details and operator pages."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.types import Scope

from scalekit.config.field_types import Network
from scalekit.config.tables import Server
from scalekit.config.types import Secret
from scalekit.http.proxy_headers import RESOLVED_PORT, forwarding_header, parse_address

_CACHE_SIZE = 1024
OPERATORS_ONLY = "operators only: connect from server.operator_networks, or send server.operator_token"
UNKNOWN_HOST = "operators by address must use an IP address, localhost or a name in server.allowed_hosts as Host"


class OperatorAccess:
    """Authorize clients in *networks*, and clients with the bearer *token*."""

    def __init__(self, networks: Sequence[Network], token: Secret | None) -> None:
        self.networks = networks
        self.token = token.get_secret_value().encode() if token else None
        self._includes = lru_cache(_CACHE_SIZE)(self._find)

    def admits(self, scope: Scope) -> bool:
        """Return whether the client of *scope* is an operator."""
        return self.by_token(scope) or self.by_address(scope)

    def by_token(self, scope: Scope) -> bool:
        """Return whether the client of *scope* has sent the token."""
        if self.token is None:
            return False
        values = [value for name, value in scope["headers"] if name == b"authorization"]
        if len(values) != 1:
            return False
        scheme, _, token = values[0].partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(token, self.token)

    def by_address(self, scope: Scope) -> bool:
        """Return whether the client of *scope* is in the networks."""
        client = scope.get("client")
        if not client or not self.networks:
            return False
        # A request through a proxy that is not trusted has the proxy's address: behind a local nginx every client would
        # have a loopback address.
        if client[1] != RESOLVED_PORT and forwarding_header(scope["headers"]):
            return False
        return self._includes(client[0])

    def _find(self, text: str) -> bool:
        """Return whether the address *text* is in one of the networks."""
        address = parse_address(text.encode())
        return address is not None and any(ip_address(address) in network for network in self.networks)


class PageAccess:
    """Authorize operators to see pages: by token, by address, and all clients of the management address.

    A page of another site whose name is rebound to this address (DNS rebinding) runs in an operator's browser, which
    has the operator's address. Its requests have the name as Host, so without the token the Host must be known.
    """

    def __init__(self, server: Server) -> None:
        self._access = OperatorAccess(server.operator_networks, server.operator_token)
        self._everybody = server.management_address is not None
        self._hosts = frozenset(host.lower() for host in server.allowed_hosts)

    def admits(self, scope: Scope) -> bool:
        """Return whether the client of *scope* may see pages."""
        return self.by_token(scope) or self.by_address(scope)

    def by_token(self, scope: Scope) -> bool:
        """Return whether the client of *scope* has sent the token of operators."""
        return self._access.by_token(scope)

    def by_address(self, scope: Scope) -> bool:
        """Return whether the client of *scope* is an operator by its address and uses a known host."""
        return (self._everybody or self._access.by_address(scope)) and self.knows_host(scope)

    def knows_host(self, scope: Scope) -> bool:
        """Return whether the Host of *scope* is an IP address, localhost or in ``server.allowed_hosts``."""
        values = [value.decode("latin-1").lower() for name, value in scope["headers"] if name == b"host"]
        if len(values) != 1:
            return False
        name = _host_name(values[0])
        return name == "localhost" or name in self._hosts or values[0] in self._hosts or _is_address(name)

    def refusal(self, scope: Scope) -> str:
        """Return why the client of *scope* may not see pages, and the remedy."""
        return OPERATORS_ONLY if self.knows_host(scope) else f"{OPERATORS_ONLY}; {UNKNOWN_HOST}"


def _host_name(host: str) -> str:
    """Return *host* without its port, empty when it is not valid."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
