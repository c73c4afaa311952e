"""The outcomes of requests by route, for the page of the cache."""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import Scope

from scalekit_cache.stored_response import ROUTE, StoredResponse

MAX_ROUTES = 500
"""Routes that are counted; further ones are counted together."""
OTHER = "other routes"


class RouteOutcomes:
    """The number of requests by route and outcome; *route_of* returns the template of the route of a scope.

    The template is empty for a request that no router has handled.
    """

    def __init__(self, route_of: Callable[[Scope], str]) -> None:
        self.counts: dict[str, dict[str, int]] = {}
        self._route_of = route_of

    def add(self, scope: Scope, outcome: str) -> None:
        """Count a request of *scope* with *outcome*."""
        counts = self._counts_of(self._route_of(scope))
        counts[outcome] = counts.get(outcome, 0) + 1

    def add_hit(self, response: StoredResponse) -> None:
        """Count a request that got the stored *response*."""
        counts = self._counts_of(response.route_scope.get(ROUTE, ""))
        counts["hit"] = counts.get("hit", 0) + 1

    def _counts_of(self, route: str) -> dict[str, int]:
        counts = self.counts.get(route)
        if counts is None:
            place = route if len(self.counts) < MAX_ROUTES else OTHER
            counts = self.counts.setdefault(place, {})
        return counts
