"""A stale response made anew: for nobody in particular, unless nobody but the client that has caused it may have it."""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scalekit_cache.cache_status import REQUEST_REASONS
from scalekit_cache.http_cache import HttpCache, RefreshResult
from scalekit_cache.policies import CachePolicy
from scalekit_cache.request import CacheRequest
from scalekit_cache.response_recorder import ERRORS, ResponseRecorder, routed
from scalekit_cache.single_flight import Flight
from scalekit_cache.stored_response import StoredResponse
from scalekit_cache.table_tags import begin_collecting
from scalekit_cache.validating import background_request, nobody
from scalekit_caching.items import Key

logger = logging.getLogger("scalekit.cache")


class RefreshTrigger(Protocol):
    """The request that has caused it."""

    cache: HttpCache
    app: ASGIApp
    scope: Scope
    receive: Receive
    send: Send
    asked: CacheRequest
    policy: CachePolicy
    primary: Key
    path: str


class ClientRelay:
    """The way to the client of *caller*, for a response that is not kept.

    ``begun`` tells that the client gets it; ``leads`` that it was this client for whom the application was asked.
    """

    def __init__(self, caller: RefreshTrigger) -> None:
        self._caller = caller
        self._deadline: asyncio.Timeout | None = None
        self._started = asyncio.Event()
        self._asked = False
        self._closed = False
        self.leads = False

    @property
    def begun(self) -> bool:
        """Whether the client gets the response as it comes."""
        return self._started.is_set()

    def lead(self, deadline: asyncio.Timeout) -> None:
        """Take the response, whose *deadline* ends once the client gets it."""
        self._deadline = deadline

    def close(self) -> None:
        """Begin no more: the client has got something else."""
        self._closed = True

    async def send(self, message: Message) -> None:
        """Pass *message* on."""
        if self._closed:
            return
        if not self.begun:
            self._started.set()
            if self._deadline is not None:
                self._deadline.reschedule(None)
        if message["type"] == "http.response.body" and self._caller.asked.method == "HEAD":
            message = {**message, "body": b""}
        await self._caller.send(message)

    async def receive(self) -> Message:
        """Receive an empty body, and that the client has left once it gets the response."""
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._started.wait()
        message = await self._caller.receive()
        while message["type"] != "http.disconnect":
            message = await self._caller.receive()
        return message


async def refresh_stored(
    caller: RefreshTrigger, entry: StoredResponse, relay: ClientRelay | None = None
) -> RefreshResult:
    """Have *entry* made anew and kept; *relay* gets what must not be kept. What must not be kept ends *entry* too."""
    cache = caller.cache
    scope = background_request(caller.scope, entry)
    flight = Flight(caller.primary, caller.primary, cache.store.number, cache.max_body, shared=False)
    flight.begun = next(cache.moments)
    making = ResponseRecorder(cache, flight, caller.asked, caller.policy, scope, caller.path, b"fwd=stale", entry)
    making.otherwise = None if relay is None else relay.send
    if cache.collects:
        flight.tables = begin_collecting()
    error: Exception | None = None
    try:
        async with asyncio.timeout(cache.options.refresh_timeout) as deadline:
            if relay is not None:
                relay.lead(deadline)
            await caller.app(scope, nobody() if relay is None else relay.receive, making.send)
    except Exception as failure:
        logger.warning("background_request %r failed: %s", caller.scope["path"], type(failure).__name__)
        error = failure
    failed = not making.complete or making.status >= ERRORS
    (cache.metrics.not_refreshed if failed else cache.metrics.refreshed).inc()
    if relay is not None and relay.begun:
        caller.scope.update(routed(scope))
    if making.refusal is not None and making.refusal not in REQUEST_REASONS:
        await cache.store.remove([entry.key])
    names = making.entry.ruling.names if making.entry is not None else ()
    selecting = caller.asked.selecting(names) if names else ()
    return RefreshResult(making.entry, failed, making.refusal, flight.begun, selecting, error)
