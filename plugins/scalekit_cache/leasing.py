"""One call for many processes: who has the lease makes what is missing, the others look for it."""

from __future__ import annotations

import asyncio

from scalekit.caching.items import Key
from scalekit.caching.store import Lease
from scalekit_cache.asked import Asked
from scalekit_cache.core import HttpCache
from scalekit_cache.entry import Entry
from scalekit_cache.flights import Flight

FIRST_LOOK = 0.005
LAST_LOOK = 0.1
"""Seconds between two looks for what another process makes; the pause doubles from the first to the last."""


async def lease_of(cache: HttpCache, flight: Flight, primary: Key, asked: Asked, waited: bool) -> Lease | None:
    """Return the lease of what *flight* is to make, unless another process has kept it or takes too long.

    When it is kept, all who wait for *flight* look again. *waited* tells that time has passed since the last look.
    """
    loop = asyncio.get_running_loop()
    end, pause = loop.time() + cache.options.wait, FIRST_LOOK
    while True:
        lease = await cache.store.lease(flight.key, cache.options.wait)
        if waited and await _is_kept(cache, primary, asked):
            cache.landed(flight)
            flight.land()
        if lease is not None and flight.landed_elsewhere:
            await lease.release()
        if lease is not None or flight.landed_elsewhere or loop.time() > end:
            flight.lease = lease
            return lease
        await asyncio.sleep(pause)
        waited, pause = True, min(2 * pause, LAST_LOOK)


async def _is_kept(cache: HttpCache, primary: Key, asked: Asked) -> bool:
    found = await cache.fetch(primary, asked)
    return type(found) is Entry and found.expires > cache.clock()
