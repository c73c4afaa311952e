"""Reject requests that a page of another site sends in the name of its visitor, or to log its visitor in.

Browsers add cookies to them, and the credentials of the Basic, Digest, NTLM and Negotiate schemes. A login has neither.

Fetch Metadata (https://www.w3.org/TR/fetch-metadata/) says where a browser's request comes from; browsers older than
2023 send Origin. A client that sends neither is no browser.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from scalekit import Exchange, Filter, LocalResponse, WebSocketExchange, local_problem
from scalekit_headers.metrics import CsrfMetrics

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
SAME_SITE = frozenset({b"same-origin", b"none"})
TOKEN_SCHEMES = frozenset({b"bearer", b"dpop"})
"""Authorization schemes that only a script sends, which a page of another site may not without CORS."""
HTTPS = frozenset({"https", "wss"})
AUTHORIZATION = b"authorization"
FETCH_SITE = b"sec-fetch-site"
ORIGIN = b"origin"
COOKIE = b"cookie"
HOST = b"host"
HEADERS = frozenset({FETCH_SITE, ORIGIN, COOKIE, HOST, AUTHORIZATION})


def is_cross_site(method: str, scheme: str, headers: Mapping[bytes, bytes], trusted_origins: Collection[bytes]) -> bool:
    """Return whether a request with *headers* is one of another origin that may change something."""
    if method in SAFE_METHODS or _has_only_token(headers):
        return False
    origin = headers.get(ORIGIN)
    if origin is not None and origin in trusted_origins:
        return False
    site = headers.get(FETCH_SITE)
    if site is not None:
        return site not in SAME_SITE
    return origin is not None and not _is_own(origin, scheme, headers.get(HOST, b""))


def _has_only_token(headers: Mapping[bytes, bytes]) -> bool:
    scheme = headers.get(AUTHORIZATION, b"").partition(b" ")[0]
    return COOKIE not in headers and scheme.lower() in TOKEN_SCHEMES


def _is_own(origin: bytes, scheme: str, host: bytes) -> bool:
    """Return whether *origin* is that of a service at *host*; the default port may be left out."""
    own, port = (b"https", b":443") if scheme in HTTPS else (b"http", b":80")
    found, _, authority = origin.lower().partition(b"://")
    return found == own and authority.removesuffix(port) == host.lower().removesuffix(port) != b""


class CsrfFilter(Filter):
    """Rejects requests of other sites that may change something, except those with a token and no cookie."""

    request_headers = HEADERS

    def __init__(self, trusted_origins: Collection[str], metrics: CsrfMetrics) -> None:
        self._trusted_origins = frozenset(origin.encode() for origin in trusted_origins)
        self._metrics = metrics

    def on_request(self, exchange: Exchange) -> LocalResponse | None:
        """Respond with 403 to a request of another site."""
        return self._decide(exchange, exchange.scope["method"])

    def on_open(self, exchange: WebSocketExchange) -> LocalResponse | None:
        """Reject a websocket that a page of another site opens."""
        return self._decide(exchange, "CONNECT")

    def _decide(self, exchange: Exchange, method: str) -> LocalResponse | None:
        scheme = exchange.scope.get("scheme", "http")
        if not is_cross_site(method, scheme, exchange.headers, self._trusted_origins):
            return None
        self._metrics.count()
        return local_problem(403, "the request comes from a page of another site")
