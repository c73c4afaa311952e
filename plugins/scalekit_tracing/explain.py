"""Respond to an operator with the spans of a live request, in place of its response."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import perf_counter, time

from starlette.types import ASGIApp, Message

from scalekit import Decision, Exchange, Filter, OperatorAccess
from scalekit.telemetry import (
    CURRENT_SPAN,
    Attributes,
    Span,
    SpanKind,
    SpanRecord,
    SpanType,
    error_type,
    finished_spans,
    trace_tree,
)
from scalekit_tracing.filters import server_span_name

EXPLAINED_SPAN = SpanType(
    SpanKind.SERVER,
    lambda method, route, attributes: server_span_name(method, route),
    lambda method, route, attributes: attributes,
)
"""The request; its values are method, route and attributes."""

EXPLAIN = b"scalekit-explain"
"""The request header with which an operator asks for the spans; its value is ``1``."""


class ExplainFilter(Filter):
    """Serves requests with ``ScaleKit-Explain: 1`` of operators; *redact* masks secrets."""

    request_headers = (EXPLAIN,)

    def __init__(self, access: OperatorAccess, redact: Callable[[str], str]) -> None:
        self._access = access
        self._redact = redact

    def on_request(self, exchange: Exchange) -> Decision:
        """Take over a request that an operator wants explained."""
        if exchange.headers.get(EXPLAIN) != b"1" or exchange.span is None or not self._access.admits(exchange.scope):
            return None
        return partial(self._explain, exchange, exchange.span)

    async def _explain(self, exchange: Exchange, root: Span, app: ASGIApp) -> None:
        response = DiscardedResponse()
        failure = ""
        token = CURRENT_SPAN.set(root)
        try:
            await app(exchange.scope, exchange.receive, response.send)
        except Exception as error:
            failure = error_type(type(error))
        finally:
            CURRENT_SPAN.reset(token)
        body = self._text(exchange, root, response.attributes(), failure)
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"cache-control", b"no-store")]
        headers.append((b"content-length", b"%d" % len(body)))
        await exchange.send({"type": "http.response.start", "status": 200, "headers": headers})
        await exchange.send({"type": "http.response.body", "body": body})

    def _text(self, exchange: Exchange, root: Span, attributes: Attributes, failure: str) -> bytes:
        values = (exchange.scope["method"], exchange.route, attributes)
        own: SpanRecord = (None, EXPLAINED_SPAN, exchange.began, perf_counter(), values, failure, root)
        spans = list(finished_spans(root.trace, [own, *root.trace.records], time() - perf_counter()))
        return self._redact("\n".join([*trace_tree(spans), ""])).encode("utf-8", "replace")


class DiscardedResponse:
    """A response of which only status, size and ``Cache-Status`` are of interest."""

    def __init__(self) -> None:
        self._status = 0
        self._size = 0
        self._cache_status: list[str] = []

    async def send(self, message: Message) -> None:
        """Receive a message of the application."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            headers = message.get("headers", ())
            self._cache_status = [value.decode("latin-1") for name, value in headers if name.lower() == b"cache-status"]
        elif message["type"] == "http.response.body":
            self._size += len(message.get("body", b""))

    def attributes(self) -> Attributes:
        """Return what is known of the response, as attributes of its span."""
        found: Attributes = {"http.response.status_code": self._status, "http.response.body.size": self._size}
        return {**found, "http.response.header.cache-status": self._cache_status} if self._cache_status else found
