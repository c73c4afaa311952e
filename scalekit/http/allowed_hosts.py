"""Reject requests whose Host is not allowed."""

from __future__ import annotations

from collections.abc import Sequence

from scalekit.http.exchange import Exchange
from scalekit.http.filter import Decision, Filter
from scalekit.http.response import local_problem

HOST = b"host"


class AllowedHosts(Filter):
    """Serve only *hosts*, compared exactly; a name without a port allows every port."""

    request_headers = (HOST,)

    def __init__(self, hosts: Sequence[str]) -> None:
        self.hosts = frozenset(host.lower().encode("idna" if not host.isascii() else "ascii") for host in hosts)

    def on_request(self, exchange: Exchange) -> Decision:
        """Respond with 400 to a missing or repeated Host, with 421 to a Host that is not allowed."""
        host = exchange.headers.get(HOST)
        if host is None or HOST in exchange.repeated:
            return local_problem(400, "exactly one Host header is required")
        if self._allows(host.lower()):
            return None
        return local_problem(421, "this host is not served here")

    on_open = on_request

    def _allows(self, host: bytes) -> bool:
        if host in self.hosts:
            return True
        name, colon, port = host.rpartition(b":")
        return bool(colon) and port.isdigit() and name in self.hosts
