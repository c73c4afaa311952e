"""Log one warning when a proxy that ``trusted_proxies`` does not name forwards requests.

Every client behind such a proxy has the proxy's address: all of them share one rate limit, and none is an operator.
Only the first requests of a process are checked, so that later ones cost nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from ipaddress import ip_address

from starlette.types import Scope

from scalekit.http.exchange import Exchange
from scalekit.http.filter import Decision, Filter
from scalekit.http.proxy_headers import forwarding_header, parse_address

logger = logging.getLogger("scalekit")

MAX_REQUESTS = 10_000


class ProxyWarning(Filter):
    """Checks the first requests, and calls *finished* after a warning or MAX_REQUESTS."""

    def __init__(self, finished: Callable[[], None]) -> None:
        self._finished = finished
        self._left = MAX_REQUESTS

    def on_request(self, exchange: Exchange) -> Decision:
        """Check one request or websocket."""
        if self._left:
            self._left -= 1
            name = forwarding_header(exchange.scope["headers"])
            if name is not None and _is_near(exchange.scope):
                _warn(exchange.scope, name)
                self._left = 0
            if not self._left:
                self._finished()
        return None

    on_open = on_request


def _is_near(scope: Scope) -> bool:
    """Return whether the peer is local or has a private address; a public address counts as a client."""
    client = scope.get("client")
    if not client:
        return True  # a Unix socket
    address = parse_address(client[0].encode())
    return address is not None and not ip_address(address).is_global


def _warn(scope: Scope, name: bytes) -> None:
    client = scope.get("client")
    if client:
        peer = parse_address(client[0].encode())
        remedy = f'if {peer} is your proxy, write trusted_proxies = ["{peer}"] in [server]'
    else:
        peer, remedy = "a Unix socket", 'write trusted_proxies = ["unix"] in [server]'
    logger.warning(
        "a request from %s has the header %s, but server.trusted_proxies is empty: "
        "all clients behind that proxy count as one, with its address; %s",
        peer,
        name.decode("latin-1")[:40],
        remedy,
    )
