"""Refuse requests whose Host is not on the list."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

from scalekit.problem import refuse


class AllowedHosts:
    """Serve only the hosts of an exact list; a name without a port allows every port."""

    def __init__(self, app: ASGIApp, hosts: Sequence[str]) -> None:
        self.app = app
        self.hosts = frozenset(host.lower().encode("idna" if not host.isascii() else "ascii") for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 400 to a missing or double Host, 421 to one that is not served here."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        values = [value for name, value in scope["headers"] if name == b"host"]
        if len(values) != 1:
            await refuse(scope, send, 400, "exactly one Host header is needed")
        elif self._allows(values[0].lower()):
            await self.app(scope, receive, send)
        else:
            await refuse(scope, send, 421, "this host is not served here")

    def _allows(self, host: bytes) -> bool:
        if host in self.hosts:
            return True
        name, colon, port = host.rpartition(b":")
        return bool(colon) and port.isdigit() and name in self.hosts
