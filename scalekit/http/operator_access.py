"""Authorize operators to see health details and operator pages."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import ip_address

from starlette.types import Scope

from scalekit.config.field_types import Network
from scalekit.config.types import Secret
from scalekit.http.proxy_headers import RESOLVED_PORT, forwarding_header, parse_address

_CACHE_SIZE = 1024


class OperatorAccess:
    """Authorize clients in *networks*, and clients with the bearer *token*."""

    def __init__(self, networks: Sequence[Network], token: Secret | None) -> None:
        self.networks = networks
        self.token = token.get_secret_value().encode() if token else None
        self._includes = lru_cache(_CACHE_SIZE)(self._find)

    def admits(self, scope: Scope) -> bool:
        """Return whether the client of *scope* is an operator."""
        return self._by_token(scope) or self._by_address(scope)

    def _by_token(self, scope: Scope) -> bool:
        if self.token is None:
            return False
        values = [value for name, value in scope["headers"] if name == b"authorization"]
        if len(values) != 1:
            return False
        scheme, _, token = values[0].partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(token, self.token)

    def _by_address(self, scope: Scope) -> bool:
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
