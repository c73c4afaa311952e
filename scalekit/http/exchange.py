"""The record of one request or websocket that all filters share.

The chain creates it. Filters read the request, decide, and add to the response; the application sends and receives
through it. Trace context, route and path are computed on first use.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Sequence
from contextvars import ContextVar, Token
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.types import Message, Receive, Scope, Send

from scalekit.http.header_index import index_headers
from scalekit.http.request_line import route_path
from scalekit.http.trace_context import SCOPE_KEY as TRACE_CONTEXT_KEY
from scalekit.http.trace_context import TraceContext, trace_context_from_index

if TYPE_CHECKING:
    from scalekit.http.filter import Pending, Takeover
    from scalekit.http.filter_chain import FilterChain
    from scalekit.http.response import Header, LocalResponse
    from scalekit.http.stage import Hook, Stage
    from scalekit.telemetry.spans import Span

T = TypeVar("T")

logger = logging.getLogger("scalekit")


class Exchange:
    """One HTTP request and its response.

    ``scope`` is the ASGI scope, ``path`` its path before the application can change it. ``headers`` has the first value
    of each request header that a filter of the chain reads, ``repeated`` all values of repeated headers.
    ``added_headers`` are added to the response. During ``on_response_start`` ``current_headers`` are the headers of the
    response, to be read or replaced by another list, and ``response_headers`` is a copy of them to be changed in place.
    ``status`` is 0 until a response starts. ``response_bytes`` and ``request_bytes`` count the bodies. ``disconnected``
    is whether the client has disconnected, ``disconnected_early`` whether it had when the response started.
    ``is_local_response`` is true when a filter responds: its body is sent unchanged, while an ``on_response_start`` may
    call ``replace_send`` to transform the messages of the application. In ``on_complete``, ``seconds`` is the time from
    the request to the last byte of the response. ``span`` is the root of recorded spans, or None.
    """

    # Without slots, CPython moves the attributes of each later request that the first requests lack to a dictionary.
    __slots__ = (
        "_first_send",
        "_replaced",
        "_route",
        "_trace_context",
        "_unchanged_headers",
        "added_headers",
        "began",
        "chain",
        "client_receive",
        "client_send",
        "current_headers",
        "decided",
        "depth",
        "disconnected",
        "disconnected_early",
        "early_headers",
        "ended",
        "headers",
        "is_local_response",
        "matched_path",
        "next_decision",
        "path",
        "pending",
        "repeated",
        "request_bytes",
        "response_bytes",
        "scope",
        "seconds",
        "span",
        "stage",
        "status",
        "takeover",
    )
    path: str
    span: Span | None
    added_headers: list[Header]
    current_headers: list[Header]
    _unchanged_headers: list[Header]
    """The list of the application or of a local response, which no filter changes."""
    _first_send: Send | None
    _route: str | None
    _trace_context: TraceContext | None
    _replaced: list[Token[Any]] | None
    # State of the chain: the route path once computed, the next filter to decide, and the decisions so far.
    matched_path: str | None
    pending: list[tuple[int, Pending]] | None
    early_headers: Sequence[Header]
    decided: tuple[int, LocalResponse | Takeover] | None
    takeover: Takeover | None

    def __init__(self, scope: Scope, receive: Receive, send: Send, chain: FilterChain, stage: Stage) -> None:
        self.began = perf_counter()
        self.scope = scope
        self.path = scope["path"]
        self.client_receive = receive
        self.client_send = send
        self.chain = chain
        self.stage = stage
        self.headers, self.repeated = index_headers(scope["headers"], stage.indexed_names)
        self.added_headers = []
        self.status = self.response_bytes = self.request_bytes = self.next_decision = self.depth = 0
        self.disconnected = self.disconnected_early = self.is_local_response = False
        self.seconds = self.ended = 0.0
        self._first_send = self._route = self._trace_context = self._replaced = self.span = None
        self.matched_path = self.pending = self.decided = self.takeover = None
        self.early_headers = ()

    @property
    def route_path(self) -> str:
        """The path without the prefix that a proxy has removed: rules match this path."""
        path = self.matched_path
        if path is None:
            path = self.matched_path = route_path(self.scope) if self.scope.get("root_path") else self.path
        return path

    @property
    def trace_context(self) -> TraceContext:
        """The ids of the request and of its trace."""
        found = self._trace_context
        if found is None:
            found = self.scope.get(TRACE_CONTEXT_KEY)
            if found is None:
                found = self.scope[TRACE_CONTEXT_KEY] = trace_context_from_index(self.headers, self.repeated)
            self._trace_context = found
        return found

    def replace_trace_context(self, context: TraceContext) -> None:
        """Replace the trace context, before anything has read it."""
        self._trace_context = self.scope[TRACE_CONTEXT_KEY] = context

    @property
    def route(self) -> str:
        """The template of the route that served the request, empty without one."""
        route = self._route
        if route is None:
            templates, scope = self.stage.templates, self.scope
            route = templates.by_endpoint_id.get(id(scope.get("endpoint")))
            if route is None:
                route = templates.of(scope)
            if self.seconds:
                self._route = route
        return route

    @property
    def response_headers(self) -> list[Header]:
        """The headers of the response, to be changed in place: a copy, made on first use."""
        headers = self.current_headers
        if headers is self._unchanged_headers:
            headers = self.current_headers = headers.copy()
        return headers

    def values(self, name: bytes) -> list[bytes]:
        """Return every value of the request header *name*, which ``request_headers`` of the filter must list."""
        return self.repeated.get(name) or ([self.headers[name]] if name in self.headers else [])

    def replace_headers(self, headers: list[Header]) -> None:
        """Replace the request headers by *headers* for inner filters and the application."""
        self.scope["headers"] = headers
        self.headers, self.repeated = index_headers(headers, self.stage.indexed_names)

    def replace_header(self, name: bytes, value: bytes) -> None:
        """Replace the request header *name* by one with *value*; remove it when *value* is empty."""
        headers = [each for each in self.scope["headers"] if each[0] != name]
        if name in self.repeated:
            self.repeated = {each: values for each, values in self.repeated.items() if each != name}
        if value:
            headers.append((name, value))
            self.headers[name] = value
        else:
            self.headers.pop(name, None)
        self.scope["headers"] = headers

    def set_context(self, variable: ContextVar[T], value: T) -> None:
        """Set a context *variable* for the application, and reset it when the request is complete."""
        token = variable.set(value)
        if self._replaced is None:
            self._replaced = [token]
        else:
            self._replaced.append(token)

    def defer_headers(self, count: int) -> None:
        """Defer all but the first *count* of ``added_headers`` until no decision is pending."""
        self.early_headers = [*self.early_headers, *self.added_headers[count:]]
        del self.added_headers[count:]

    def start_response(self, response: LocalResponse) -> Sequence[Header]:
        """Record that *response* starts, and return the headers to send: its own list when no filter changes them."""
        self.status = response.status
        self.is_local_response = True
        self.response_bytes = len(response.body)
        headers = self._unchanged_headers = self.current_headers = response.headers
        if self.added_headers:
            self.current_headers = [*headers, *self.added_headers]
        self._call_response_starts(self.stage.response_starts[self.depth])
        return self.current_headers

    def _call_response_starts(self, starts: Sequence[Hook]) -> None:
        try:
            for start in starts:
                start(self)
        except BaseException:
            self.status = 0  # nothing has been sent
            self.discard_unsent()
            raise

    def replace_send(self, send: Send) -> Send:
        """Send the messages of this response with *send*, and return the function that it replaces.

        An ``on_response_start`` calls this. While *send* holds the start message, it sets ``status`` to 0: a failure
        becomes another response. It restores ``status`` when it sends that message. Before the last one it restores
        ``client_send``, and sets ``ended`` when its work took time.
        """
        replaced = self.client_send
        if self._first_send is None:
            self._first_send = replaced
        self.client_send = send
        return replaced

    def discard_unsent(self) -> None:
        """Restore ``client_send`` after a failure, and discard the record of a response of which nothing was sent."""
        if self._first_send is not None:
            self.client_send = self._first_send
            self._first_send = None
        if not self.status:
            self.response_bytes = 0
            self.is_local_response = False
            self.ended = 0.0

    def complete(self, error: BaseException | None) -> None:
        """Call ``on_complete`` of the filters; *error* is the exception of the application, or None."""
        self.seconds = (self.ended or perf_counter()) - self.began
        for complete in self.stage.completions[self.depth]:
            try:
                complete(self, error)
            except Exception:  # the other filters must run, and the client has its response
                logger.exception("a filter failed in on_complete or on_close")
        if self._replaced is not None:
            self._restore_context(self._replaced)

    def _restore_context(self, replaced: list[Token[Any]]) -> None:
        self._replaced = None  # a token refers to its context and so to all values in it
        for token in reversed(replaced):
            try:
                token.var.reset(token)
            except ValueError:  # a coroutine that another context closes: nothing to reset here
                return

    def send(self, message: Message) -> Awaitable[None]:
        """Send *message* to the client."""
        kind = message["type"]
        if kind == "http.response.body":
            self.response_bytes += len(message.get("body", b""))
            if not message.get("more_body"):
                self.ended = perf_counter()
        elif kind == "http.response.start":
            self.status = message["status"]
            self.disconnected_early = self.disconnected
            starts = self.stage.response_starts[self.depth]
            if starts or self.added_headers:
                message = self._with_headers(message, starts)
        return self.client_send(message)

    def _with_headers(self, message: Message, starts: Sequence[Hook]) -> Message:
        """Return *message*, or a copy of it when ``added_headers`` or *starts* change its headers."""
        headers: Any = message.get("headers")
        self.current_headers = self._unchanged_headers = headers
        if self.added_headers or type(headers) is not list:
            self.current_headers = [*(headers or ()), *self.added_headers]
        self._call_response_starts(starts)
        if self.current_headers is headers:
            return message
        message = dict(message)
        message["headers"] = self.current_headers
        return message

    async def receive(self) -> Message:
        """Receive a message from the client."""
        message = await self.client_receive()
        if message["type"] == "http.disconnect":
            self.disconnected = True
        else:
            self.request_bytes += len(message.get("body", b""))
        return message

    async def respond(self, response: LocalResponse) -> None:
        """Send *response*."""
        headers = [*self.start_response(response)]  # servers and middleware may change the list of a message
        await self.client_send({"type": "http.response.start", "status": response.status, "headers": headers})
        await self.client_send({"type": "http.response.body", "body": response.body})
