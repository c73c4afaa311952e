"""An application without filters, behind a connection of ours."""

from __future__ import annotations

from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.server import ServerState

from scalekit.http.exchange import Exchange
from scalekit.http.filter import Filter
from scalekit.http.filter_chain import FilterChain
from scalekit.http.response import LocalResponse
from scalekit.route import RouteTemplates
from scalekit.runner.server.known_heads import KnownHeads
from scalekit.runner.server.protocol import HttpProtocol
from scalekit.runner.server.reader import Limits


class BareService(FilterChain):
    """*app*, behind *filters* if there are any, as a connection serves it: without what a host does about failures."""

    def __init__(self, app: ASGIApp, *filters: Filter) -> None:
        super().__init__(filters, app, RouteTemplates())

    async def respond(self, exchange: Exchange, response: LocalResponse) -> None:
        await exchange.respond(response)

    async def fail(self, exchange: Exchange, error: Exception) -> None:
        raise error

    def complete(self, exchange: Exchange) -> None:
        exchange.complete(None)


class OwnConnections:
    """Makes connections of ours, of a class such as *kind*, for the application of each configuration."""

    def __init__(self, limits: Limits, kind: type[HttpProtocol] = HttpProtocol) -> None:
        self.limits = limits
        self.kind = kind
        self.known_heads = KnownHeads()

    def __call__(self, config: uvicorn.Config, state: ServerState, app_state: dict[str, Any]) -> HttpProtocol:
        app: Any = config.app
        return self.kind(self.limits, BareService(app), self.known_heads, config, state, app_state)
