"""The interface through which a connection passes requests to the host."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol

from starlette.types import Receive, Scope, Send

from scalekit.http.exchange import Exchange
from scalekit.http.filter_chain import Progress
from scalekit.http.response import LocalResponse


class ExchangeHandler(Protocol):
    """Creates exchanges, runs their filters and the application; implemented by Host."""

    def exchange(self, scope: Scope, receive: Receive, send: Send) -> Exchange:
        """Return the exchange of a new request."""
        ...

    def decide(self, exchange: Exchange) -> Progress:
        """Run the filters on *exchange* until one responds, one has to wait or all have continued."""
        ...

    def run(self, exchange: Exchange) -> Awaitable[None]:
        """Run the application after all filters have continued."""
        ...

    def respond(self, exchange: Exchange, response: LocalResponse) -> Awaitable[None]:
        """Send *response*, the decision of a filter."""
        ...

    def fail(self, exchange: Exchange, error: Exception) -> Awaitable[None]:
        """Complete *exchange* with *error*, which its response raised."""
        ...

    def complete(self, exchange: Exchange) -> None:
        """Notify the filters that the response is complete."""
        ...
