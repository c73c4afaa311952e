"""Call filters that decide by the path only for paths with their prefixes."""

from __future__ import annotations

from collections.abc import Sequence

from scalekit.http.exchange import Exchange
from scalekit.http.filter import Decision, Filter
from scalekit.http.websocket_exchange import WebSocketExchange


class PathFilter(Filter):
    """A filter that decides only on requests whose path begins with ``prefix``."""

    prefix: str


class PathFilters(Filter):
    """Calls *filters* for paths with their prefixes, so that all others cost one comparison."""

    def __init__(self, filters: Sequence[PathFilter]) -> None:
        self.filters = filters
        self._prefixes = tuple(each.prefix for each in filters)

    def on_request(self, exchange: Exchange) -> Decision:
        """Return the first decision of a filter."""
        if not exchange.route_path.startswith(self._prefixes):
            return None
        for each in self.filters:
            if (decision := each.on_request(exchange)) is not None:
                return decision
        return None

    def on_open(self, exchange: WebSocketExchange) -> Decision:
        """Return the first decision of a filter on a websocket."""
        for each in self.filters:
            if (decision := each.on_open(exchange)) is not None:
                return decision
        return None
