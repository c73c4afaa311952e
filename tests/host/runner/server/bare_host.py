"""An application without filters behind HttpProtocol."""

from __future__ import annotations

from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.server import ServerState

from scalekit.http.exchange import Exchange
from scalekit.http.filter import Filter
from scalekit.http.filter_chain import FilterChain
from scalekit.http.response import LocalResponse
from scalekit.http.route_template import RouteTemplates
from scalekit.runner.server.protocol import HttpProtocol
from scalekit.runner.server.request_head_cache import RequestHeadCache
from scalekit.runner.server.request_parser import ConnectionLimits


class BareHost(FilterChain):
    """*app* behind *filters*, as a connection serves it, without the host's error handling."""

    def __init__(self, app: ASGIApp, *filters: Filter) -> None:
        super().__init__(filters, app, RouteTemplates())

    async def respond(self, exchange: Exchange, response: LocalResponse) -> None:
        await exchange.respond(response)

    async def fail(self, exchange: Exchange, error: Exception) -> None:
        raise error

    def complete(self, exchange: Exchange) -> None:
        exchange.complete(None)


class ProtocolFactory:
    """Makes connections of ours, of a class such as *kind*, for the application of each configuration."""

    def __init__(self, limits: ConnectionLimits, kind: type[HttpProtocol] = HttpProtocol) -> None:
        self.limits = limits
        self.kind = kind
        self.head_cache = RequestHeadCache()

    def __call__(self, config: uvicorn.Config, state: ServerState, app_state: dict[str, Any]) -> HttpProtocol:
        app: Any = config.app
        return self.kind(
            self.limits, BareHost(app), self.head_cache, config=config, server_state=state, app_state=app_state
        )
