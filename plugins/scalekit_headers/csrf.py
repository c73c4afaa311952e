"""Reject requests that a page of another site sends with the cookies of its visitor.

Fetch Metadata (https://www.w3.org/TR/fetch-metadata/) says where a browser's request comes from; browsers older than
2023 send Origin. A client that sends neither is no browser.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from scalekit import Exchange, Filter, LocalResponse, WebSocketExchange, local_problem
from scalekit_headers.metrics import CsrfMetrics

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
SAME_SITE = frozenset({b"same-origin", b"none"})
FETCH_SITE = b"sec-fetch-site"
ORIGIN = b"origin"
COOKIE = b"cookie"
HOST = b"host"
HEADERS = frozenset({FETCH_SITE, ORIGIN, COOKIE, HOST})


def is_cross_site(method: str, headers: Mapping[bytes, bytes], trusted_origins: Collection[bytes]) -> bool:
    """Return whether a request with *headers* is one of another origin that may change something by a cookie."""
    if method in SAFE_METHODS or COOKIE not in headers:
        return False
    origin = headers.get(ORIGIN)
    if origin is not None and origin in trusted_origins:
        return False
    site = headers.get(FETCH_SITE)
    if site is not None:
        return site not in SAME_SITE
    return origin is not None and origin.partition(b"://")[2] != headers.get(HOST)


class CsrfFilter(Filter):
    """Rejects requests of other sites that carry a cookie and may change something."""

    request_headers = HEADERS

    def __init__(self, trusted_origins: Collection[str], metrics: CsrfMetrics) -> None:
        self._trusted_origins = frozenset(origin.encode() for origin in trusted_origins)
        self._metrics = metrics

    def on_request(self, exchange: Exchange) -> LocalResponse | None:
        """Respond with 403 to a request of another site."""
        return self._decide(exchange, exchange.scope["method"])

    def on_open(self, exchange: WebSocketExchange) -> LocalResponse | None:
        """Reject a websocket that a page of another site opens: the browser sends the cookies of its visitor."""
        return self._decide(exchange, "CONNECT")

    def _decide(self, exchange: Exchange, method: str) -> LocalResponse | None:
        if not is_cross_site(method, exchange.headers, self._trusted_origins):
            return None
        self._metrics.count()
        return local_problem(403, "the request comes from a page of another site")
