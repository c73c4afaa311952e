"""Requests of this worker: the durations of all, and the routes of those that failed and of a sample of the others."""

from __future__ import annotations

from collections import deque
from time import monotonic
from typing import Any, NamedTuple

from scalekit import Exchange, Filter, WebSocketExchange
from scalekit_console.durations import count_durations
from scalekit_console.route_statistics import EndedRequest, RouteStatistics

SHARE = 20
"""Requests of a tick whose routes are recorded at any rate of requests."""
BURST = 200
"""Requests of a tick whose routes are recorded after quiet ticks."""
WATCHED = 600.0
"""Seconds after a look at the routes in which those of all requests are recorded."""
MAX_ENDED = 50_000
"""Requests that are kept until they are counted; without a lifespan nothing counts them."""
FAILED = 500
"""The lowest status of failed requests."""


class Ended(NamedTuple):
    """Requests that have ended since the last look."""

    errors: int
    buckets: dict[int, int]
    """Requests by the bucket of their duration."""


class RequestSampler(Filter):
    """Appends the duration of each request to a list, which is counted between requests.

    The route of a request costs more than all else, so only SHARE of a tick and all failed ones are recorded with it.
    The recorded ones stand for all of their tick.
    """

    def __init__(self) -> None:
        self.websockets = 0
        self.routes = RouteStatistics()
        self._began = self._counted = self._errors = 0
        self._durations: deque[float] = deque(maxlen=MAX_ENDED)
        self._add_duration = self._durations.append
        self._recorded_from = 0
        self._room = BURST
        self._attributed = 0
        self._recorded: list[EndedRequest] = []
        self._failed: deque[EndedRequest] = deque(maxlen=MAX_ENDED)
        self._watched_until = 0.0

    @property
    def in_flight(self) -> int:
        """Requests that have begun and not ended."""
        return max(0, self._began - self._counted - len(self._durations))

    def on_request(self, exchange: Exchange) -> None:
        """Count a request that begins."""
        self._began += 1

    def on_complete(self, exchange: Exchange, error: BaseException | None) -> None:
        """Add the duration of a request that has ended; record its route when it failed, or while there is room."""
        self._add_duration(exchange.seconds)
        if error is not None or exchange.status >= self._recorded_from:
            self._record(exchange, error)

    def on_open(self, exchange: WebSocketExchange) -> None:
        """Count a websocket that opens."""
        self.websockets += 1

    def on_close(self, exchange: WebSocketExchange, error: BaseException | None) -> None:
        """Count a websocket that has closed."""
        self.websockets -= 1

    def tick(self) -> None:
        """Count the recorded requests by route, and make room for those of the next tick."""
        self._count_routes()
        self._room = MAX_ENDED if monotonic() < self._watched_until else min(BURST, self._room + SHARE)
        self._recorded_from = 0

    def take(self) -> Ended:
        """Return what has ended since the last call."""
        self._count_routes()
        ended = Ended(self._errors, count_durations(self._durations))
        self._counted += len(self._durations)
        self._errors = self._attributed = 0
        self._durations.clear()
        return ended

    def describe_routes(self) -> list[list[Any]]:
        """Return the statistics by route; for some time from now on the routes of all requests are recorded."""
        self._watched_until = monotonic() + WATCHED
        self.tick()
        return self.routes.describe()

    def _record(self, exchange: Exchange, error: BaseException | None) -> None:
        ended = exchange.scope["method"], exchange.route, exchange.seconds
        if exchange.status >= FAILED or (error is not None and not exchange.status):
            self._failed.append(ended)
        elif self._room > 0:
            self._recorded.append(ended)
            self._room -= 1
            if not self._room:
                self._recorded_from = FAILED

    def _count_routes(self) -> None:
        succeeded = len(self._durations) - self._attributed - len(self._failed)
        self._attributed = len(self._durations)
        self._errors += len(self._failed)
        self.routes.add_failed(self._failed)
        self.routes.add(self._recorded, succeeded)
        self._failed.clear()
        self._recorded.clear()
