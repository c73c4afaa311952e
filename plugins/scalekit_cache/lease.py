"""One call for many processes: who has the lease makes what is missing, the others look for it."""

from __future__ import annotations

import asyncio

from scalekit_cache.assessing import is_reusable
from scalekit_cache.http_cache import HttpCache
from scalekit_cache.request import CacheRequest
from scalekit_cache.single_flight import Flight
from scalekit_cache.stored_response import StoredResponse, Variants
from scalekit_caching.items import Item, Key
from scalekit_caching.store import Lease

FIRST_LOOK = 0.005
LAST_LOOK = 0.1
"""Seconds between two looks for what another process makes; the pause doubles from the first to the last."""


async def acquire_lease(cache: HttpCache, flight: Flight, primary: Key, asked: CacheRequest) -> Lease | None:
    """Return the lease of what *flight* is to make, unless another process has kept it or takes too long.

    When it is kept, all who wait for *flight* look again.
    """
    loop = asyncio.get_running_loop()
    end, pause = loop.time() + cache.options.coalesce_timeout, FIRST_LOOK
    while True:
        lease, found = await cache.store.acquire_lease(primary, flight.key, cache.options.coalesce_timeout)
        if found is not None and await _is_kept(cache, found, asked):
            cache.landed(flight)
            flight.land()
        if lease is not None or flight.landed_elsewhere or loop.time() > end:
            flight.lease = lease
            return lease
        await asyncio.sleep(pause)
        pause = min(2 * pause, LAST_LOOK)


async def _is_kept(cache: HttpCache, found: Item, asked: CacheRequest) -> bool:
    """Tell whether *found*, or the variant of it that is *asked* for, would be given: who looks again leads no more."""
    if type(found) is Variants:
        found = await cache.variant(found, asked) or found
    if type(found) is not StoredResponse or asked.lacks(found.ruling):
        return False
    return is_reusable(found, asked.directives, cache.clock())
