"""Refresh a stale stored response in the background (RFC 5861).

With stale-if-error the request that causes a refresh waits for it, and gets a response that must not be stored.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scalekit import TIMEOUT_HEADER
from scalekit_cache.cache_status import REQUEST_REASONS
from scalekit_cache.http_cache import HttpCache, RefreshResult
from scalekit_cache.invalidation import track_reads
from scalekit_cache.policies import CachePolicy
from scalekit_cache.request import CacheRequest
from scalekit_cache.response_recorder import SERVER_ERROR, ResponseRecorder
from scalekit_cache.single_flight import Flight
from scalekit_cache.stored_response import StoredResponse, route_scope
from scalekit_cache.validation import conditional_request
from scalekit_caching import Key

logger = logging.getLogger("scalekit.cache")
TIMEOUT = TIMEOUT_HEADER.encode()


class RefreshTrigger(Protocol):
    """The request that causes a refresh."""

    cache: HttpCache
    app: ASGIApp
    scope: Scope
    receive: Receive
    send: Send
    request: CacheRequest
    policy: CachePolicy
    primary_key: Key
    path: str


class ClientRelay:
    """Sends a response that must not be stored to the client of *trigger*.

    ``started`` is set once the client gets it, ``leads`` when the refresh was started for this client.
    """

    def __init__(self, trigger: RefreshTrigger) -> None:
        self._trigger = trigger
        self._timeout: asyncio.Timeout | None = None
        self._started = asyncio.Event()
        self._body_received = False
        self._closed = False
        self.leads = False

    @property
    def started(self) -> bool:
        """Whether the client gets the response as it arrives."""
        return self._started.is_set()

    def set_timeout(self, timeout: asyncio.Timeout) -> None:
        """Set the *timeout* of the refresh, which is lifted once the client gets the response."""
        self._timeout = timeout

    def close(self) -> None:
        """Discard a response that starts later: the client has got another one."""
        self._closed = True

    async def send(self, message: Message) -> None:
        """Send *message* to the client."""
        if self._closed:
            return
        if not self.started:
            self._started.set()
            if self._timeout is not None:
                self._timeout.reschedule(None)
        if message["type"] == "http.response.body" and self._trigger.request.method == "HEAD":
            message = {**message, "body": b""}
        await self._trigger.send(message)

    async def receive(self) -> Message:
        """Receive an empty body, and the disconnect of the client once it gets the response."""
        if not self._body_received:
            self._body_received = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._started.wait()
        message = await self._trigger.receive()
        while message["type"] != "http.disconnect":
            message = await self._trigger.receive()
        return message


async def refresh_stored(
    trigger: RefreshTrigger, stale: StoredResponse, relay: ClientRelay | None = None
) -> RefreshResult:
    """Call the application to replace *stale*; *relay* gets a response that must not be stored.

    Such a response removes *stale*, unless the reason lies in the request.
    """
    cache = trigger.cache
    scope = background_request(trigger.scope, stale)
    flight = Flight(trigger.primary_key, trigger.primary_key, cache.store.version, cache.max_body, shared=False)
    flight.sequence = next(cache.sequence)
    recorder = ResponseRecorder(
        cache,
        flight,
        trigger.request,
        trigger.policy,
        scope=scope,
        path=trigger.path,
        reason=b"fwd=stale",
        stale=stale,
    )
    recorder.fallback_send = None if relay is None else relay.send
    if cache.tracks_tables:
        flight.tables = track_reads()
    error: Exception | None = None
    try:
        async with asyncio.timeout(cache.options.refresh_timeout) as timeout:
            if relay is not None:
                relay.set_timeout(timeout)
            await trigger.app(scope, empty_receive() if relay is None else relay.receive, recorder.send)
    except Exception as failure:
        logger.warning("refresh of %r failed: %s", trigger.scope["path"], type(failure).__name__)
        error = failure
    failed = not recorder.complete or recorder.status >= SERVER_ERROR
    (cache.metrics.refresh_failed if failed else cache.metrics.refresh_done).inc()
    if relay is not None and relay.started:
        trigger.scope.update(route_scope(scope))
    if recorder.not_stored is not None and recorder.not_stored not in REQUEST_REASONS:
        await cache.store.delete([stale.key])
    names = recorder.stored.storage_policy.vary if recorder.stored is not None else ()
    variant = trigger.request.variant_key(names) if names else ()
    return RefreshResult(recorder.stored, failed, recorder.not_stored, flight.sequence, variant, error)


def background_request(scope: Scope, stale: StoredResponse) -> Scope:
    """Return a conditional GET without the timeout of the client that caused it."""
    request = conditional_request(scope, stale)
    headers = [field for field in request["headers"] if field[0] != TIMEOUT]
    return {**request, "method": "GET", "headers": headers, "extensions": {}}


def empty_receive() -> Receive:
    """Return a receive callable for an empty body, of a client that never disconnects."""
    messages: list[Message] = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Message:
        if messages:
            return messages.pop()
        await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    return receive
