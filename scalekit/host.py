"""The ASGI application that servers call: the chain of plugins around the user's application."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from starlette.middleware import Middleware
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from scalekit.context import SCOPE_KEY, Context
from scalekit.errors import ApplicationStartError, Unavailable
from scalekit.health.monitor import Monitor
from scalekit.http.exchange import Exchange
from scalekit.http.filter import Filter
from scalekit.http.filter_chain import FilterChain, Progress, respond_unavailable
from scalekit.http.problem import ProblemResponse
from scalekit.http.response import LocalResponse
from scalekit.http.route_template import RouteTemplates
from scalekit.http.trace_context import request_id
from scalekit.http.trace_recorder import Report, TraceRecorder
from scalekit.layers import Layer
from scalekit.lifecycle import Lifecycle, Phase
from scalekit.server_info import OTHER_SERVER, WORKER
from scalekit.settings import Settings


@dataclass(frozen=True, slots=True)
class ChainLink:
    """One link of the chain: its layer or place, its owner (a plugin or the host), and the filter or middleware."""

    place: str
    owner: str
    filter: Filter | Middleware


def build_chain(links: Sequence[ChainLink], app: ASGIApp, templates: RouteTemplates) -> FilterChain:
    """Return *app* inside *links*, the first outermost; adjacent filters run as one chain."""
    inner: FilterChain | None = None
    for filters, middleware in reversed(list(_runs(links))):
        if middleware is None:
            app = chain = FilterChain(filters, app, templates)
            chain.next_chain = inner
            inner = chain
        else:
            app = _wrap(middleware, app)
    return app if isinstance(app, FilterChain) else _empty_chain(app, templates, inner)


def _empty_chain(app: ASGIApp, templates: RouteTemplates, inner: FilterChain | None) -> FilterChain:
    """Return a chain without filters before the middleware *app*, inside of which is *inner*."""
    chain = FilterChain([], app, templates)
    chain.next_chain = inner
    return chain


def links_with_recorder(links: Sequence[ChainLink], recorder: Filter) -> list[ChainLink]:
    """Return *links* with *recorder* in place of the filters that record spans."""
    inner = {layer.name for layer in Layer if layer > Layer.TRACE} | {"routes"}
    others = [link for link in links if link.place != Layer.TRACE.name]
    at = next((place for place, link in enumerate(others) if link.place in inner), len(others))
    return [*others[:at], ChainLink(Layer.TRACE.name, "host", recorder), *others[at:]]


def _runs(links: Iterable[ChainLink]) -> Iterator[tuple[list[Filter], Middleware | None]]:
    """Yield adjacent filters together, and each middleware alone."""
    filters: list[Filter] = []
    for link in links:
        if isinstance(link.filter, Filter):
            filters.append(link.filter)
            continue
        if filters:
            yield filters, None
            filters = []
        yield [], link.filter
    if filters:
        yield filters, None


def _wrap(middleware: Middleware, app: ASGIApp) -> ASGIApp:
    factory, args, kwargs = middleware
    wrapped: ASGIApp = factory(app, *args, **kwargs)
    return wrapped


class Host:
    """An application and its plugins as one ASGI application.

    The chain of *links* is built around *target* once; a request uses no plugin manager, no registry and no
    configuration. *templates* has the routes of the application and of plugins.
    """

    def __init__(
        self,
        settings: Settings,
        context: Context,
        lifecycle: Lifecycle,
        monitor: Monitor,
        *,
        links: Sequence[ChainLink],
        templates: RouteTemplates,
        routes: Mapping[str, Sequence[BaseRoute]],
        start_order: Sequence[str],
        target: ASGIApp,
        state: dict[str, object],
    ) -> None:
        self.settings = settings
        self.context = context
        self.lifecycle = lifecycle
        self.monitor = monitor
        self.links = links
        self.templates = templates
        self.routes = routes
        self.start_order = start_order
        self.target = target
        self.state = state
        self.chain = build_chain(links, target, templates)

    def add_temporary_filter(self, make_filter: Callable[[Callable[[], None]], Filter]) -> None:
        """Add an outermost filter; it is removed when it calls the callback that *make_filter* receives."""
        chain = self.chain

        def finished() -> None:
            self.chain = chain

        links = [ChainLink("temporary", "host", make_filter(finished)), *self.links]
        self.chain = build_chain(links, self.target, self.templates)

    def report_spans(self, report: Report) -> None:
        """Pass the spans of each request to *report*, in place of the filters that record spans."""
        self.links = links_with_recorder(self.links, TraceRecorder(report))
        self.chain = build_chain(self.links, self.target, self.templates)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, websocket or lifespan."""
        kind = scope["type"]  # servers recognize ASGI 3 by this coroutine function
        if kind == "http":
            exchange = self.exchange(scope, receive, send)
            try:
                await exchange.chain.serve(exchange)
            except BaseException as error:
                await self._end(exchange, error)
            else:
                exchange.complete(None)
        elif kind == "websocket":
            await self._serve_websocket(self.exchange(scope, receive, send))
        elif kind == "lifespan":
            await self._live(scope, receive, send)
        else:
            await self.chain(scope, receive, send)

    async def serve_apart(self, chain: FilterChain, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request by *chain*, in place of that of all others."""
        scope[SCOPE_KEY] = self.context
        scope.setdefault("state", dict(self.state))
        await self._serve(chain.exchange(scope, receive, send), chain.serve)

    def exchange(self, scope: Scope, receive: Receive, send: Send) -> Exchange:
        """Return the record of a new request or websocket."""
        scope[SCOPE_KEY] = self.context
        if "state" not in scope:  # the server has no lifespan state
            scope["state"] = dict(self.state)
        return self.chain.exchange(scope, receive, send)

    def decide(self, exchange: Exchange) -> Progress:
        """Let filters decide on *exchange*, for a server that creates a task only for :meth:`run`."""
        try:
            return exchange.chain.decide(exchange)
        except Exception as error:
            exchange.chain.cancel_pending(exchange)
            exchange.takeover = partial(_fail, error)
            return None

    def run(self, exchange: Exchange) -> Awaitable[None]:
        """Serve *exchange* by the application once all filters have decided."""
        return self._serve(exchange, exchange.chain.run)

    def respond(self, exchange: Exchange, response: LocalResponse) -> Awaitable[None]:
        """Send *response*, the decision of the filters of *exchange*."""
        return self._serve(exchange, lambda exchange: exchange.respond(response))

    def fail(self, exchange: Exchange, error: Exception) -> Awaitable[None]:
        """End *exchange* with *error*, which the sending of its response raised."""
        return self._serve(exchange, partial(_raise, error))

    def complete(self, exchange: Exchange) -> None:
        """Call ``on_complete`` of the filters of *exchange*."""
        exchange.complete(None)

    async def _serve(self, exchange: Exchange, serve: Callable[[Exchange], Awaitable[None]]) -> None:
        """Call *serve* and complete the exchange, as :meth:`__call__` does."""
        try:
            await serve(exchange)
        except BaseException as error:
            await self._end(exchange, error)
        else:
            exchange.complete(None)

    async def _end(self, exchange: Exchange, error: BaseException) -> None:
        """Complete a request that ended with *error*: respond when no response has started, and raise other errors."""
        exchange.discard_unsent()
        if isinstance(error, Unavailable) and not exchange.status:
            try:
                await respond_unavailable(exchange, error)
            except BaseException as failed:
                exchange.discard_unsent()
                error = failed
            else:
                exchange.complete(None)
                return
        exchange.complete(error)
        restarting = isinstance(error, asyncio.CancelledError) and self.lifecycle.phase is Phase.DRAINING
        if not exchange.status and (restarting or isinstance(error, Exception)):
            await _respond_to_failure(exchange, _restarting(exchange) if restarting else _server_error(exchange))
        if restarting:
            return
        if isinstance(error, Exception):
            scope = exchange.scope
            error.add_note(f"while serving {scope['method']} {scope['path']!r}, request id {request_id(scope)}")
        raise error

    async def _serve_websocket(self, exchange: Exchange) -> None:
        try:
            await exchange.chain.serve(exchange)
        except BaseException as error:
            exchange.complete(error)
            raise
        exchange.complete(None)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        if not self.context.has(WORKER) and not self.context.has(OTHER_SERVER):
            self.context.provide(OTHER_SERVER, True)
        try:
            await self.lifecycle.start()
        except Exception as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            original = _application_error(error)
            if original is None:
                raise
            raise original from None
        scope.setdefault("state", {}).update(self.state)
        await send({"type": "lifespan.startup.complete"})
        try:
            await receive()
        finally:
            await self.lifecycle.drain()
            await self.lifecycle.stop()
        failures = self.lifecycle.stop_failures
        if not failures:
            await send({"type": "lifespan.shutdown.complete"})
            return
        message = "; ".join(f"{each.step} failed to stop: {each.error!r}" for each in failures)
        await send({"type": "lifespan.shutdown.failed", "message": message})
        raise failures[0].error


def _application_error(error: Exception) -> BaseException | None:
    """Return the exception that the application's lifespan raised, or None when a plugin did not start.

    Test clients re-raise it, so that the error of an application keeps its type.
    """
    reported = error.__cause__
    return reported.__cause__ if isinstance(reported, ApplicationStartError) else None


def _server_error(exchange: Exchange) -> ProblemResponse:
    identity = request_id(exchange.scope)
    return ProblemResponse(500, headers={"x-request-id": identity}, request_id=identity)


def _restarting(exchange: Exchange) -> ProblemResponse:
    """Return the response to a request that did not finish while the process drained."""
    headers = {"retry-after": "1", "x-request-id": request_id(exchange.scope)}
    return ProblemResponse(503, "the server is restarting", headers=headers)


async def _respond_to_failure(exchange: Exchange, response: ProblemResponse) -> None:
    """Send *response* through the filters or, when one of them fails with it, without them."""
    try:
        await response(exchange.scope, exchange.client_receive, exchange.send)
    except Exception:
        exchange.discard_unsent()
        if exchange.status:
            raise
        await response(exchange.scope, exchange.client_receive, exchange.client_send)


async def _raise(error: Exception, exchange: Exchange) -> None:
    raise error


async def _fail(error: Exception, app: ASGIApp) -> None:
    raise error
