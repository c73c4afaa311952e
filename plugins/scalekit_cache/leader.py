"""The leader of a single flight: it acquires the lease among processes, and streams the response to its own client."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from starlette.types import Message, Send

from scalekit_cache.freshness import is_reusable
from scalekit_cache.http_cache import HttpCache
from scalekit_cache.request import CacheRequest
from scalekit_cache.single_flight import Flight
from scalekit_cache.stored_response import StoredResponse, Variants
from scalekit_caching import Item, Key, Lease

MIN_POLL_INTERVAL = 0.005
MAX_POLL_INTERVAL = 0.1
"""Seconds between two lookups while another process holds the lease; the interval doubles up to the maximum."""


class LeaderStream:
    """Sends a response in flight to the leader's client, at the pace of that client.

    A task sends the messages *first*, and then the body of *flight* if *sends_body*. Neither the application nor a
    follower waits for the client while its backlog is within the window of the flight. Beyond the window the
    application waits for the client, and followers with it, so that memory is bounded.
    """

    def __init__(self, flight: Flight, send: Send, first: Sequence[Message], sends_body: bool) -> None:
        self._flight = flight
        self._send = send
        self._sends_body = sends_body
        self._error: OSError | None = None
        self._task = asyncio.create_task(self._run(first))

    async def wait_capacity(self) -> None:
        """Wait until the flight has capacity; raises OSError when the client has disconnected and no follower reads."""
        await self._flight.wait_capacity()
        if self._task.done() and not self._task.cancelled() and (error := self._task.exception()) is not None:
            raise error
        if self._error is not None and not self._flight.has_followers:
            raise self._error

    async def send_after(self, message: Message) -> None:
        """Send *message*, which is not part of the flight, after the body of the flight."""
        await self.end()
        if self._error is not None:
            raise self._error
        await self._send(message)

    async def end(self) -> None:
        """Return when the client has the complete response, or has disconnected."""
        self._flight.ended = True
        self._flight.notify()
        try:
            await asyncio.shield(self._task)
        except asyncio.CancelledError:
            await self.cancel()
            raise

    async def cancel(self) -> None:
        """Stop sending."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self, first: Sequence[Message]) -> None:
        try:
            for message in first:
                await self._send(message)
            position = 0
            while self._sends_body:
                part = await self._flight.read_as_leader(position)
                if part is None:
                    return
                position += 1
                chunk, last = part
                await self._send({"type": "http.response.body", "body": chunk, "more_body": not last})
                if last:
                    return
        except OSError as error:
            self._error = error
        finally:
            self._flight.end_leader()


async def send_all(send: Send, messages: Sequence[Message]) -> None:
    """Send *messages* in order."""
    for message in messages:
        await send(message)


async def discard(message: Message) -> None:
    """Send nothing."""


async def acquire_lease(cache: HttpCache, flight: Flight, primary_key: Key, request: CacheRequest) -> Lease | None:
    """Return the lease for *flight*, or None when another process stored the response or holds the lease too long.

    While another process holds the lease, the store is polled. When the response is stored, the requests that wait for
    *flight* retry.
    """
    loop = asyncio.get_running_loop()
    timeout = cache.options.coalesce_timeout
    end, interval = loop.time() + timeout, MIN_POLL_INTERVAL
    while True:
        lease, found = await cache.store.acquire_lease(primary_key, flight.key, timeout)
        if found is not None and await _is_reusable(cache, found, request):
            cache.close_flight(flight)
            flight.retry()
        if lease is not None or flight.stored_elsewhere or loop.time() > end:
            flight.lease = lease
            return lease
        await asyncio.sleep(interval)
        interval = min(2 * interval, MAX_POLL_INTERVAL)


async def _is_reusable(cache: HttpCache, found: Item, request: CacheRequest) -> bool:
    """Return whether *request* may reuse *found*, or its variant for that request, without revalidation."""
    if type(found) is Variants:
        found = await cache.fetch_variant(found, request) or found
    if type(found) is not StoredResponse or request.missing_credentials(found.storage_policy):
        return False
    return is_reusable(found, request.directives, cache.clock())
