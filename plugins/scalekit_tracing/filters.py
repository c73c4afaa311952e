"""Record the server span of each request and websocket, the root of the trace in this process."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from scalekit import TRACE_CONTEXT, Decision, Exchange, Filter, OperatorAccess, WebSocketExchange
from scalekit.telemetry import CURRENT_SPAN, Attributes, Span, SpanKind, SpanType, error_type
from scalekit_tracing.exception_event import add_exception
from scalekit_tracing.tracer import SamplingTracer

USER_AGENT = b"user-agent"
CACHE_STATUS = b"cache-status"
KNOWN_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"})
"""Methods that are names of spans; others are ``_OTHER`` (OpenTelemetry, HTTP spans)."""
OTHER_METHOD = "_OTHER"
SERVER_ERROR = 500


class ServerRequest(NamedTuple):
    """What is known of a request or websocket when it ends, as it is recorded; empty values are unknown."""

    method: str
    route: str
    path: str
    scheme: str
    http_version: str
    server: Sequence[Any]
    client: str
    user_agent: bytes
    status: int
    cache_status: Sequence[bytes]


def server_span_name(method: str, route: str) -> str:
    """Return the name of the span of a request (OpenTelemetry semantic conventions, HTTP, stable)."""
    verb = method if method in KNOWN_METHODS else "HTTP"
    return f"{verb} {route}" if route else verb


def _attributes(request: ServerRequest) -> Attributes:
    """Return the attributes of the span of *request* (OpenTelemetry semantic conventions, HTTP, stable)."""
    method = request.method
    attributes: Attributes = {
        "http.request.method": method if method in KNOWN_METHODS else OTHER_METHOD,
        "url.path": request.path,
        "url.scheme": request.scheme,
        "network.protocol.version": request.http_version,
    }
    if method not in KNOWN_METHODS:
        attributes["http.request.method_original"] = method
    if request.status:
        attributes["http.response.status_code"] = request.status
    if request.route:
        attributes["http.route"] = request.route
    if request.server:
        attributes["server.address"], port = request.server
        if port is not None:
            attributes["server.port"] = port
    if request.user_agent:
        attributes["user_agent.original"] = request.user_agent.decode("latin-1")
    if request.cache_status:
        attributes["http.response.header.cache-status"] = [each.decode("latin-1") for each in request.cache_status]
    if request.client:
        attributes["client.address"] = request.client
    return attributes


SERVER_SPAN = SpanType(SpanKind.SERVER, lambda request: server_span_name(request.method, request.route), _attributes)
"""An HTTP request or a websocket; its value is a ServerRequest."""


class TracingFilter(Filter):
    """Begins a trace with each request, and ends it with the response.

    It continues the traces of the clients that *parents* admits.
    """

    request_headers = (USER_AGENT,)

    def __init__(self, tracer: SamplingTracer, parents: OperatorAccess, *, client_address: bool) -> None:
        self._tracer = tracer
        self._parents = parents
        self._client_address = client_address

    def on_request(self, exchange: Exchange) -> Decision:
        """Begin the trace."""
        context = exchange.trace_context
        if context.parent_id and not self._parents.admits(exchange.scope):
            root = self._tracer.begin_apart(context)
        else:
            root = self._tracer.begin(context)
        exchange.span = root
        if root.trace.context is not context:
            exchange.replace_trace_context(root.trace.context)
        return None

    on_open = on_request

    def on_application(self, exchange: Exchange) -> None:
        """Let the application record spans, and propagate the trace in calls of its own."""
        exchange.set_context(CURRENT_SPAN, exchange.span)
        context = exchange.trace_context
        if TRACE_CONTEXT.get() is not context:
            exchange.set_context(TRACE_CONTEXT, context)

    def on_response_start(self, exchange: Exchange) -> None:
        """Do nothing: the exchange has the headers of the response for the filters that override this method."""

    def on_complete(self, exchange: Exchange, error: BaseException | None) -> None:
        """End the trace, and export it when it is kept."""
        root = exchange.span
        if root is None:
            return
        failed = exchange.status >= SERVER_ERROR or isinstance(error, Exception)
        self._report(exchange, root, error)
        if self._tracer.keep(root, exchange.route, exchange.seconds, failed=failed):
            self._export(exchange, root, error, failed)

    def on_close(self, exchange: WebSocketExchange, error: BaseException | None) -> None:
        """End the trace of a websocket; the time for which it was open makes it neither slow nor fast."""
        root = exchange.span
        if root is None:
            return
        failed = isinstance(error, Exception)
        self._report(exchange, root, error)
        if self._tracer.keep(root, exchange.route, 0.0, failed=failed):
            self._export(exchange, root, error, failed)

    def _report(self, exchange: Exchange, root: Span, error: BaseException | None) -> None:
        """Report an unhandled exception, unless it is that of a client that has disconnected."""
        if isinstance(error, Exception) and not exchange.disconnected:
            method = exchange.scope.get("method", "GET")
            self._tracer.report_error(error, root, f"{method} {exchange.route}", method, exchange.path)

    def _export(self, exchange: Exchange, root: Span, error: BaseException | None, failed: bool) -> None:
        reason = ""
        if error is not None:
            reason = error_type(type(error))
            add_exception(root, error)
        elif failed:
            reason = str(exchange.status)
        request = self._server_request(exchange)
        root.trace.size += len(request.path) + len(request.user_agent)  # the client chooses them
        self._tracer.export(root, SERVER_SPAN, exchange.began, (request,), reason)

    def _server_request(self, exchange: Exchange) -> ServerRequest:
        scope = exchange.scope
        client = scope.get("client") if self._client_address else None
        return ServerRequest(
            scope.get("method", "GET"),
            exchange.route,
            exchange.path,
            scope.get("scheme", "http"),
            scope.get("http_version", "1.1"),
            scope.get("server") or (),
            client[0] if client else "",
            exchange.headers.get(USER_AGENT, b""),
            exchange.status,
            cache_statuses(getattr(exchange, "current_headers", ())),
        )


def cache_statuses(headers: Iterable[tuple[bytes, bytes]]) -> Sequence[bytes]:
    """Return the values of ``Cache-Status`` of a response, by which caches say what they did (RFC 9211)."""
    return [value for name, value in headers if name == CACHE_STATUS]
