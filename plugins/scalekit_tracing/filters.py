"""Record the server span of each request and websocket, the root of the trace in this process."""

from __future__ import annotations

from typing import Any

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


def _name(method: str, route: str, attributes: Attributes) -> str:
    verb = method if method in KNOWN_METHODS else "HTTP"
    return f"{verb} {route}" if route else verb


SERVER_SPAN = SpanType(SpanKind.SERVER, _name, lambda method, route, attributes: attributes)
"""An HTTP request or a websocket; its values are method, route and attributes."""


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
        if TRACE_CONTEXT.get() is not exchange.trace_context:
            exchange.set_context(TRACE_CONTEXT, exchange.trace_context)

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
        attributes = self._attributes(exchange)
        values = (exchange.scope.get("method", "GET"), exchange.route, attributes)
        self._tracer.export(root, SERVER_SPAN, exchange.began, values, reason)

    def _attributes(self, exchange: Exchange) -> dict[str, Any]:
        """Return the attributes of a server span (OpenTelemetry semantic conventions 1.x, HTTP, stable)."""
        scope = exchange.scope
        method = scope.get("method", "GET")
        attributes: dict[str, Any] = {
            "http.request.method": method if method in KNOWN_METHODS else OTHER_METHOD,
            "url.path": exchange.path,
            "url.scheme": scope.get("scheme", "http"),
            "network.protocol.version": scope.get("http_version", "1.1"),
        }
        if method not in KNOWN_METHODS:
            attributes["http.request.method_original"] = method
        if exchange.status:
            attributes["http.response.status_code"] = exchange.status
        if exchange.route:
            attributes["http.route"] = exchange.route
        if server := scope.get("server"):
            attributes["server.address"] = server[0]
            if server[1] is not None:
                attributes["server.port"] = server[1]
        if agent := exchange.headers.get(USER_AGENT):
            attributes["user_agent.original"] = agent.decode("latin-1")
        if statuses := _cache_status(exchange):
            attributes["http.response.header.cache-status"] = statuses
        client = scope.get("client")
        if client and self._client_address:
            attributes["client.address"] = client[0]
        return attributes


def _cache_status(exchange: Exchange) -> list[str]:
    """Return the values of ``Cache-Status`` of the response, by which caches say what they did (RFC 9211)."""
    headers = getattr(exchange, "current_headers", ())
    return [value.decode("latin-1") for name, value in headers if name == CACHE_STATUS]
