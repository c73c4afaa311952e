"""The ASGI callable that stands between the server and everything else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from starlette.middleware import Middleware
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from scalekit.context import SCOPE_KEY, Context
from scalekit.errors import ApplicationStartError
from scalekit.exchange import Exchange, Observing
from scalekit.frameworks import problem_of
from scalekit.health.monitor import Monitor
from scalekit.identity import request_id
from scalekit.lifecycle import Lifecycle, Phase
from scalekit.problem import ProblemResponse, refuse
from scalekit.resilience import Unavailable
from scalekit.served import OTHER_SERVER, WORKER
from scalekit.settings import Settings


@dataclass(frozen=True, slots=True)
class Part:
    """One link of the chain: its layer or place, whose it is, and the middleware."""

    place: str
    owner: str
    middleware: Middleware


def fold(parts: Sequence[Part], app: ASGIApp) -> ASGIApp:
    """Return *app* inside the middleware of *parts*, the first outermost; observers side by side become one."""
    for factory, args, kwargs in reversed(list(_joined(part.middleware for part in parts))):
        app = factory(app, *args, **kwargs)
    return app


def _joined(chain: Iterable[Middleware]) -> Iterator[Middleware]:
    for observing, group in groupby(chain, key=_observes):
        if observing:
            observers: list[Any] = [observer for each in group for observer in each.args]
            yield Middleware(Observing, *observers)
        else:
            yield from group


def _observes(middleware: Middleware) -> bool:
    factory: object = middleware.cls
    return factory is Observing


class Host:
    """An application with its plugins around it, as one ASGI application.

    The chain of *parts* is folded around *target* once; a request meets no plugin manager, no registry and no
    configuration.
    """

    def __init__(
        self,
        settings: Settings,
        context: Context,
        lifecycle: Lifecycle,
        monitor: Monitor,
        parts: Sequence[Part],
        routes: Mapping[str, Sequence[BaseRoute]],
        start_order: Sequence[str],
        target: ASGIApp,
        state: dict[str, Any],
    ) -> None:
        self.settings = settings
        self.context = context
        self.lifecycle = lifecycle
        self.monitor = monitor
        self.parts = parts
        self.routes = routes
        self.start_order = start_order
        self.target = target
        self.state = state
        self.chain = fold(parts, target)

    def examine(self, examiner: Callable[[ASGIApp, Callable[[], None]], ASGIApp]) -> None:
        """Let *examiner* stand before the chain until it calls what it is given; afterwards it costs nothing."""
        chain = self.chain

        def finished() -> None:
            self.chain = chain

        self.chain = examiner(chain, finished)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, websocket or lifespan."""
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
            return
        scope[SCOPE_KEY] = self.context
        if "state" not in scope:  # a server without lifespan state
            scope["state"] = dict(self.state)
        if scope["type"] != "http":
            await self.chain(scope, receive, send)
            return
        exchange = Exchange(send)
        try:
            try:
                await self.chain(scope, receive, exchange.pass_on)
            except Unavailable as gone:
                if exchange.status:
                    exchange.end(gone)
                    raise
                await _answer(gone, scope, receive, exchange)
                exchange.end(None)
                return
            except BaseException as error:
                exchange.end(error)
                raise
            exchange.end(None)
        except asyncio.CancelledError:
            if self.lifecycle.phase is not Phase.DRAINING:
                raise
            if not exchange.status:  # cut, because it did not finish while the process drained
                headers = {"retry-after": "1", "x-request-id": request_id(scope)}
                await refuse(scope, send, 503, "the server is restarting", headers=headers)
        except Exception as error:
            identity = request_id(scope)
            error.add_note(f"while serving {scope['method']} {scope['path']!r}, request id {identity}")
            if not exchange.status:
                headers = {"x-request-id": identity}
                await ProblemResponse(500, headers=headers, request_id=identity)(scope, receive, send)
            raise

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
        told = "; ".join(f"{each.step} failed to stop: {each.error!r}" for each in failures)
        await send({"type": "lifespan.shutdown.failed", "message": told})
        raise failures[0].error


def _application_error(error: Exception) -> BaseException | None:
    """Return the exception that the application's lifespan raised, or None when a plugin did not start.

    Test clients raise it as it is, so that the type of an application's own error is not lost.
    """
    reported = error.__cause__
    return reported.__cause__ if isinstance(reported, ApplicationStartError) else None


async def _answer(gone: Unavailable, scope: Scope, receive: Receive, exchange: Exchange) -> None:
    """Answer what no framework has answered; who observes sees an answer like any other."""
    send = exchange.send if exchange.told is not None else exchange.pass_on
    await problem_of(gone)(scope, receive, send)
