"""Respond to an operator with the spans of a live request, in place of its response."""

from __future__ import annotations

import asyncio
from functools import partial
from time import perf_counter, time

from starlette.types import ASGIApp, Message

from scalekit import Decision, Exchange, Filter, OperatorAccess
from scalekit.telemetry import (
    CURRENT_SPAN,
    Attributes,
    Span,
    SpanEvent,
    SpanKind,
    SpanRecord,
    SpanRedactor,
    SpanType,
    error_type,
    finished_spans,
    text_of,
    trace_tree,
)
from scalekit_tracing.filters import SERVER_ERROR, server_span_name

EXPLAINED_SPAN = SpanType(
    SpanKind.SERVER,
    lambda method, route, attributes: server_span_name(method, route),
    lambda method, route, attributes: attributes,
)
"""The request; its values are method, route and attributes."""

EXPLAIN = b"scalekit-explain"
"""The request header with which an operator asks for the spans; its value is ``1``."""
MAX_SECONDS = 30.0
"""Time after which a response that has not ended is cut off."""


class ExplainFilter(Filter):
    """Serves requests with ``ScaleKit-Explain: 1`` of operators; *redactor* masks secrets."""

    request_headers = (EXPLAIN,)

    def __init__(self, access: OperatorAccess, redactor: SpanRedactor) -> None:
        self._access = access
        self._redactor = redactor

    def on_request(self, exchange: Exchange) -> Decision:
        """Take over a request that an operator wants explained."""
        if exchange.headers.get(EXPLAIN) != b"1" or exchange.span is None or not self._access.admits(exchange.scope):
            return None
        return partial(self._explain, exchange, exchange.span)

    async def _explain(self, exchange: Exchange, root: Span, app: ASGIApp) -> None:
        """Serve the request by *app*; an exception is raised again, so that it is logged and reported as usual."""
        limit = asyncio.timeout(MAX_SECONDS)
        response = ExplainedResponse(exchange, root, self._redactor, limit)
        token = CURRENT_SPAN.set(root)
        try:
            async with limit:
                await app(exchange.scope, exchange.receive, response.send)
        except Exception as error:
            if not limit.expired():
                await response.explain(error)
                raise
        finally:
            CURRENT_SPAN.reset(token)
        await response.explain(None)


class ExplainedResponse:
    """The response of the application, which is discarded; when it ends, or *limit* expires, the spans are sent."""

    def __init__(self, exchange: Exchange, root: Span, redactor: SpanRedactor, limit: asyncio.Timeout) -> None:
        self._exchange = exchange
        self._root = root
        self._redactor = redactor
        self._limit = limit
        self._status = 0
        self._size = 0
        self._cache_status: list[str] = []
        self._is_explained = False

    async def send(self, message: Message) -> None:
        """Receive a message of the application."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            headers = message.get("headers", ())
            self._cache_status = [value.decode("latin-1") for name, value in headers if name.lower() == b"cache-status"]
        elif message["type"] == "http.response.body":
            self._size += len(message.get("body", b""))
            if not message.get("more_body") and self._status < SERVER_ERROR:  # Starlette raises after the response
                if not self._limit.expired():
                    self._limit.reschedule(None)  # background tasks of the response may take longer
                await self.explain(None)

    async def explain(self, error: Exception | None) -> None:
        """Send the spans, once."""
        if self._is_explained:
            return
        self._is_explained = True
        body = self._text(error)
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"cache-control", b"no-store")]
        headers += [(b"x-content-type-options", b"nosniff"), (b"content-length", b"%d" % len(body))]
        await self._exchange.send({"type": "http.response.start", "status": 200, "headers": headers})
        sent = b"" if self._exchange.scope["method"] == "HEAD" else body
        await self._exchange.send({"type": "http.response.body", "body": sent})

    def _text(self, error: Exception | None) -> bytes:
        exchange, root = self._exchange, self._root
        values = (exchange.scope["method"], exchange.route, self._attributes())
        failure = error_type(type(error)) if error is not None else ""
        own: SpanRecord = (None, EXPLAINED_SPAN, exchange.began, perf_counter(), values, failure, root)
        explained, *others = finished_spans(root.trace, [own, *root.trace.records], time() - perf_counter())
        events = list(explained.events)
        if error is not None:
            events.append(SpanEvent("exception", 0, {"exception.message": text_of(error)}))
        elif self._limit.expired():
            events.append(SpanEvent(f"cut off: the response did not end within {MAX_SECONDS:g} s", 0, {}))
        tree = trace_tree([explained._replace(events=events), *others], self._redactor)
        return "\n".join([*tree, ""]).encode("utf-8", "replace")

    def _attributes(self) -> Attributes:
        found: Attributes = {"http.response.status_code": self._status, "http.response.body.size": self._size}
        return {**found, "http.response.header.cache-status": self._cache_status} if self._cache_status else found
