"""Tell once, in the log, that a proxy stands in front which ``trusted_proxies`` does not name.

Without its name every client behind it has the proxy's address: all of them share one limit, and none is an operator.
Only the first requests of a process are looked at, so that the others pay nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from ipaddress import ip_address

from starlette.types import ASGIApp, Receive, Scope, Send

from scalekit.client_ip import forwarding_header, parse_address

logger = logging.getLogger("scalekit")

EXAMINED = 10_000


class ProxyHint:
    """Looks at the first requests on their way to *app*, and calls *finished* when it needs to see no more."""

    def __init__(self, app: ASGIApp, finished: Callable[[], None]) -> None:
        self.app = app
        self._finished = finished
        self._left = EXAMINED

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Look at one request, then serve it."""
        if self._left:
            self._left -= 1
            name = forwarding_header(scope["headers"])
            if name is not None and _is_near(scope):
                _warn(scope, name)
                self._left = 0
            if not self._left:
                self._finished()
        return self.app(scope, receive, send)


def _is_near(scope: Scope) -> bool:
    """Return whether the peer is this machine, or in a network that is not public; a proxy further away is a client."""
    client = scope.get("client")
    if not client:
        return True  # a local socket
    address = parse_address(client[0].encode())
    return address is not None and not ip_address(address).is_global


def _warn(scope: Scope, name: bytes) -> None:
    client = scope.get("client")
    if client:
        peer = parse_address(client[0].encode())
        remedy = f'if {peer} is your proxy, write trusted_proxies = ["{peer}"] in [server]'
    else:
        peer, remedy = "a local socket", 'write trusted_proxies = ["127.0.0.1"] in [server]'
    logger.warning(
        "a request from %s has the header %s, but server.trusted_proxies is empty: "
        "all clients behind that proxy count as one, with its address; %s",
        peer,
        name.decode("latin-1")[:40],
        remedy,
    )
