"""Run adjacent filters as one ASGI application.

Filters decide in a plain loop, the outermost first, without waiting. The loop continues after a pending decision while
the next filters have ``runs_while_pending``, so that a rate limit and a cache on one server share a round trip. All
decisions are made before a response is sent or the application runs. A server that calls ``decide`` itself, such as
``scalekit run``, creates a task only for requests that the application serves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from time import perf_counter
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from scalekit.errors import Unavailable
from scalekit.http.exception_handlers import problem_of
from scalekit.http.exchange import Exchange
from scalekit.http.filter import Decision, Filter, Later, Pending
from scalekit.http.header_index import HeaderNames
from scalekit.http.response import LocalResponse
from scalekit.http.route_template import RouteTemplates
from scalekit.http.stage import request_stage, websocket_stage
from scalekit.http.trace_context import HEADERS
from scalekit.http.websocket_exchange import WebSocketExchange
from scalekit.telemetry.spans import CURRENT_SPAN, SpanKind, SpanType

Progress = LocalResponse | asyncio.Future[Any] | None
"""The next step: send a local response, wait for a reply and decide again, or (None) serve in a task."""


def _filter_name(decide: Callable[..., Decision]) -> str:
    """Return the plugin, or else the package, of the filter with the method *decide*."""
    package = type(getattr(decide, "__self__", decide)).__module__.partition(".")[0]
    return f"{package.removeprefix('scalekit_')} wait"


WAIT_SPAN = SpanType(SpanKind.INTERNAL, _filter_name, lambda decide: {})
"""A decision that was pending; its value is the method of the filter."""
EXCHANGE_TYPES = frozenset({"http", "websocket"})


class FilterChain:
    """*filters*, the first outermost, before *app*; *templates* has the routes of the application.

    ``requests`` has the methods that are called for the next request: a measurement replaces it for a while.
    ``next_chain`` is the chain behind the middleware that *app* is, if any.
    """

    next_chain: FilterChain | None = None

    def __init__(self, filters: Sequence[Filter], app: ASGIApp, templates: RouteTemplates) -> None:
        self.filters = filters
        self.app = app
        self._templates = templates
        containers = [HEADERS, *(each.request_headers for each in filters)]
        names = HeaderNames(lambda name: any(name in each for each in containers))
        self.requests = request_stage(filters, names, templates)
        self._websockets = websocket_stage(filters, names, templates)
        self._inner: dict[int, FilterChain] = {}

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve a request or websocket; forward every other scope to the application."""
        if scope["type"] in EXCHANGE_TYPES:
            return _complete(self.exchange(scope, receive, send))
        return self.app(scope, receive, send)

    def exchange(self, scope: Scope, receive: Receive, send: Send) -> Exchange:
        """Return the record of a new request or websocket."""
        if scope["type"] == "http":
            return Exchange(scope, receive, send, self, self.requests)
        return WebSocketExchange(scope, receive, send, self, self._websockets)

    def chains(self) -> Iterator[FilterChain]:
        """Yield this chain, those inside of filters that have taken over requests, and those behind middleware."""
        yield self
        for inner in [*self._inner.values()]:
            yield from inner.chains()
        if self.next_chain is not None:
            yield from self.next_chain.chains()

    def serve(self, exchange: Exchange) -> Awaitable[None]:
        """Serve the request or websocket of *exchange*."""
        try:
            progress = self.decide(exchange)
        except BaseException:
            self.cancel_pending(exchange)
            raise
        if progress is None:
            return self.run(exchange)
        if isinstance(progress, LocalResponse):
            return exchange.respond(progress)
        return self._serve_pending(exchange, progress)

    async def _serve_pending(self, exchange: Exchange, progress: Progress) -> None:
        try:
            while isinstance(progress, asyncio.Future):
                await _wait_for(progress)
                progress = self.decide(exchange)
        except BaseException:
            self.cancel_pending(exchange)
            raise
        await (self.run(exchange) if progress is None else exchange.respond(progress))

    def decide(self, exchange: Exchange) -> Progress:
        """Call filters until one responds or waits for a reply, or return None when the application is next."""
        if exchange.pending:
            return self._decide_pending(exchange)
        stage, number = exchange.stage, exchange.next_decision
        decision: Decision = None
        try:
            for decide in stage.decisions[number:] if number else stage.decisions:
                decision = decide(exchange)
                number += 1
                if decision is not None:
                    break
        except BaseException:
            exchange.depth = stage.places[number]
            raise
        if decision is not None:
            exchange.next_decision = number
            return self._apply(exchange, number - 1, decision)
        exchange.depth = len(self.filters)
        return None

    def run(self, exchange: Exchange) -> Awaitable[None]:
        """Serve by the application, or by the filter that has taken over, once all filters have decided."""
        if exchange.matched_path is None:  # mounts of the application extend root_path
            exchange.matched_path = exchange.route_path if exchange.scope.get("root_path") else exchange.path
        for prepare in exchange.stage.applications[exchange.depth]:
            prepare(exchange)
        takeover = exchange.takeover
        if takeover is None:
            return self.app(exchange.scope, exchange.receive, exchange.send)
        exchange.takeover = None  # it may refer to the exchange
        return takeover(self._inner_app(exchange.depth))

    def cancel_pending(self, exchange: Exchange) -> None:
        """Cancel the replies that pending decisions wait for."""
        for _, pending in exchange.pending or ():
            pending.reply.cancel()
        exchange.pending = exchange.decided = None

    def _apply(self, exchange: Exchange, number: int, decision: Decision) -> Progress:
        """Apply the decision of the filter *number* when no outer decision is pending."""
        if isinstance(decision, Pending):
            decision.began = perf_counter()
            exchange.pending = [(number, decision)]
            self._run_early_filters(exchange, exchange.pending)
            return self._decide_pending(exchange)
        exchange.depth = exchange.stage.places[number]
        if isinstance(decision, LocalResponse):
            return decision
        if isinstance(decision, Later) or not callable(decision):
            raise TypeError(f"{exchange.stage.decisions[number]!r} returned {decision!r} with no decision pending")
        exchange.takeover = decision
        return None

    def _decide_pending(self, exchange: Exchange) -> Progress:
        """Make the pending decisions, the outermost first, until a reply is missing."""
        pending = exchange.pending or []
        while pending:
            number, outermost = pending[0]
            exchange.depth = exchange.stage.places[number]  # filters that ran early take no part yet
            if not outermost.reply.done():
                return outermost.reply
            del pending[0]
            span = exchange.span or CURRENT_SPAN.get()  # behind a middleware, which splits the chain
            if span is not None:
                span.record(WAIT_SPAN, outermost.began, (exchange.stage.decisions[number],))
            if outermost.reply.cancelled():  # its connection was closed
                raise Unavailable("the connection of a pending reply was closed")
            decision = outermost.decide()
            if isinstance(decision, Pending):
                decision.began = perf_counter()
                pending.insert(0, (number, decision))
            elif decision is not None:
                self.cancel_pending(exchange)
                return self._apply(exchange, number, decision)
        exchange.pending = None
        exchange.added_headers += exchange.early_headers
        if exchange.decided is not None:
            number, made = exchange.decided
            exchange.decided = None
            return self._apply(exchange, number, made)
        return self.decide(exchange)

    def _run_early_filters(self, exchange: Exchange, pending: list[tuple[int, Pending]]) -> None:
        """Call the next filters as long as they have ``runs_while_pending``."""
        stage = exchange.stage
        while exchange.decided is None and exchange.next_decision < len(stage.decisions):
            number = exchange.next_decision
            if not stage.early[number]:
                return
            added = len(exchange.added_headers)
            try:
                decision = stage.decisions[number](exchange)
            except Exception:  # a rejected request must not raise it: the filter is called again later
                return
            finally:
                if len(exchange.added_headers) > added:
                    exchange.defer_headers(added)
            if isinstance(decision, Later):
                return
            exchange.next_decision = number + 1
            if isinstance(decision, Pending):
                decision.began = perf_counter()
                pending.append((number, decision))
            elif decision is not None:
                exchange.decided = (number, decision)

    def _inner_app(self, place: int) -> ASGIApp:
        """Return the filters inside the one at *place*, and the application."""
        found = self._inner.get(place)
        if found is None:
            found = self._inner[place] = FilterChain(self.filters[place + 1 :], self.app, self._templates)
        return found


async def _complete(exchange: Exchange) -> None:
    try:
        try:
            await exchange.chain.serve(exchange)
        except BaseException as error:
            exchange.discard_unsent()
            if not isinstance(error, Unavailable):
                raise
            await respond_unavailable(exchange, error)
    except BaseException as error:
        exchange.complete(error)
        raise
    exchange.complete(None)


async def respond_unavailable(exchange: Exchange, error: Unavailable) -> None:
    """Send the 503 of *error*; raise *error* when the response has started, and for a websocket."""
    if exchange.status or exchange.scope["type"] != "http":
        raise error
    await problem_of(error)(exchange.scope, exchange.client_receive, exchange.send)


async def _wait_for(reply: asyncio.Future[Any]) -> None:
    """Wait until *reply* is done, whatever its outcome."""
    try:
        await reply
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if not reply.cancelled() or (task is not None and task.cancelling()):
            raise
    except Exception:
        pass
