"""Add the security headers that the application has not set, and the policies with its nonce."""

from __future__ import annotations

from scalekit import Exchange, Filter, HeaderNames, PathTable
from scalekit_headers.nonce import SCOPE_KEY
from scalekit_headers.policies import HeaderSet

CACHE_CONTROL = b"cache-control"
STORAGE_HEADERS = frozenset({b"expires", b"surrogate-control", b"x-accel-expires", b"edge-control"})
"""Headers, besides those that end in ``cache-control``, by which a cache stores a response (CDN, nginx)."""
HTTPS = frozenset({"https", "wss"})

Headers = list[tuple[bytes, bytes]]


class HeadersFilter(Filter):
    """Stands outside of limits and authentication: refusals have the headers too."""

    def __init__(self, sets: PathTable[HeaderSet]) -> None:
        self._sets = sets
        self._single = sets.single

    def on_response_start(self, exchange: Exchange) -> None:
        """Add the headers of the path that are not in the response."""
        found = self._single or self._sets.find(exchange.route_path)
        added = found.https if exchange.scope.get("scheme") in HTTPS else found.http
        headers = exchange.current_headers
        for name, _ in headers:
            if NAMES[name]:
                added = _missing(added, headers)
                break
        exchange.current_headers = [*headers, *added]


NAMES = HeaderNames(
    {
        b"x-content-type-options",
        b"referrer-policy",
        b"x-frame-options",
        b"cross-origin-opener-policy",
        b"permissions-policy",
        b"strict-transport-security",
        b"content-security-policy",
        b"content-security-policy-report-only",
    }.__contains__
)
"""Names of the headers that the filter adds."""


def _missing(added: Headers, headers: Headers) -> Headers:
    """Return the headers of *added* whose names are not in *headers*."""
    present = {name.lower() for name, _ in headers}
    return [each for each in added if each[0] not in present]


class NonceFilter(Filter):
    """Stands next to the application: a page and the policy with its nonce are one response, which is not stored."""

    def __init__(self, sets: PathTable[HeaderSet]) -> None:
        self._sets = sets

    def on_application(self, exchange: Exchange) -> None:
        """Let the application make a nonce, in a copy of the scope too."""
        exchange.scope[SCOPE_KEY] = []

    def on_response_start(self, exchange: Exchange) -> None:
        """Add the policies with the nonce, when the application has made one, and forbid every cache to store it."""
        nonces = exchange.scope.get(SCOPE_KEY)
        if not nonces:
            return
        headers = exchange.response_headers
        headers += _missing(self._sets.find(exchange.route_path).policy_headers(nonces[0]), headers)
        headers[:] = [each for each in headers if not _controls_storage(each[0].lower())]
        headers.append((CACHE_CONTROL, b"no-store"))


def _controls_storage(name: bytes) -> bool:
    return name.endswith(CACHE_CONTROL) or name in STORAGE_HEADERS
