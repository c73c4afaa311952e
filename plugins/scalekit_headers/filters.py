"""Add the security headers that the application has not set, and the policies with its nonce."""

from __future__ import annotations

from scalekit import Exchange, Filter, PathTable
from scalekit_headers.nonce import allow_nonce, nonce_in
from scalekit_headers.policies import HeaderSet

CACHE_CONTROL = b"cache-control"
STORAGE_HEADERS = frozenset({b"expires", b"surrogate-control", b"x-accel-expires", b"edge-control"})
"""Headers, besides those that end in ``cache-control``, by which a cache stores a response (CDN, nginx)."""
HTTPS = frozenset({"https", "wss"})


class HeadersFilter(Filter):
    """Stands outside of limits and authentication: refusals have the headers too."""

    def __init__(self, sets: PathTable[HeaderSet]) -> None:
        self._sets = sets
        self._single = sets.single

    def on_response_start(self, exchange: Exchange) -> None:
        """Add the headers of the path that are not in the response."""
        found = self._single or self._sets.find(exchange.route_path)
        added = found.https if exchange.scope.get("scheme") in HTTPS else found.http
        headers = exchange.response_headers
        present = {name.lower() for name, _ in headers}
        headers += added if present.isdisjoint(NAMES) else [each for each in added if each[0] not in present]


NAMES = frozenset(
    {
        b"x-content-type-options",
        b"referrer-policy",
        b"x-frame-options",
        b"cross-origin-opener-policy",
        b"permissions-policy",
        b"strict-transport-security",
        b"content-security-policy",
        b"content-security-policy-report-only",
    }
)


class NonceFilter(Filter):
    """Stands next to the application: a page and the policy with its nonce are one response, which is not stored."""

    def __init__(self, sets: PathTable[HeaderSet]) -> None:
        self._sets = sets

    def on_application(self, exchange: Exchange) -> None:
        """Let the application make a nonce, in a copy of the scope too."""
        allow_nonce(exchange.scope)

    def on_response_start(self, exchange: Exchange) -> None:
        """Add the policies with the nonce, when the application has made one, and forbid every cache to store it."""
        nonce = nonce_in(exchange.scope)
        if not nonce:
            return
        headers = exchange.response_headers
        present = {name.lower() for name, _ in headers}
        added = self._sets.find(exchange.route_path).policy_headers(nonce)
        headers += [each for each in added if each[0] not in present]
        headers[:] = [each for each in headers if not _controls_storage(each[0].lower())]
        headers.append((CACHE_CONTROL, b"no-store"))


def _controls_storage(name: bytes) -> bool:
    return name.endswith(CACHE_CONTROL) or name in STORAGE_HEADERS
