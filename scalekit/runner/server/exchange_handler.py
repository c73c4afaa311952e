"""What a connection needs of the host that it serves."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol

from starlette.types import Receive, Scope, Send

from scalekit.http.exchange import Exchange
from scalekit.http.filter_chain import Progress
from scalekit.http.response import LocalResponse


class ExchangeHandler(Protocol):
    """What decides on requests and serves them: a Host."""

    def exchange(self, scope: Scope, receive: Receive, send: Send) -> Exchange:
        """Return the record of a request that has just come."""
        ...

    def decide(self, exchange: Exchange) -> Progress:
        """Let filters decide on *exchange*."""
        ...

    def run(self, exchange: Exchange) -> Awaitable[None]:
        """Serve what is left when all have decided."""
        ...

    def respond(self, exchange: Exchange, response: LocalResponse) -> Awaitable[None]:
        """Send *response*, on which the filters have decided."""
        ...

    def fail(self, exchange: Exchange, error: Exception) -> Awaitable[None]:
        """End *exchange* with *error*, which its response has met."""
        ...

    def complete(self, exchange: Exchange) -> None:
        """Tell the filters that the response is complete."""
        ...
