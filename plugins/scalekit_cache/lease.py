"""Single flight across processes: one process holds the lease and calls the application, the others poll the store."""

from __future__ import annotations

import asyncio

from scalekit_cache.freshness import is_reusable
from scalekit_cache.http_cache import HttpCache
from scalekit_cache.request import CacheRequest
from scalekit_cache.single_flight import Flight
from scalekit_cache.stored_response import StoredResponse, Variants
from scalekit_caching import Item, Key, Lease

MIN_POLL_INTERVAL = 0.005
MAX_POLL_INTERVAL = 0.1
"""Seconds between two lookups while another process holds the lease; the interval doubles up to the maximum."""


async def acquire_lease(cache: HttpCache, flight: Flight, primary_key: Key, request: CacheRequest) -> Lease | None:
    """Return the lease for *flight*, or None when another process stored the response or holds the lease too long.

    When the response is stored, the requests that wait for *flight* retry.
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
