"""Debounce changes of upstreams, so that an instance that restarts causes no reload of nginx.

A reload makes nginx close its idle client connections, and a request that a client sends on one at that moment is lost.
An instance that restarts needs no reload: nginx skips it while connections to it fail.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator


async def debounced(updates: AsyncGenerator[list[str], None], delay: float) -> AsyncGenerator[list[str], None]:
    """Yield the addresses of *updates*, sorted, whenever they change.

    A new address is added at once; an address is removed when it has been missing for *delay* seconds.
    """
    published: list[str] = []
    current: list[str] = []
    missing: dict[str, float] = {}
    clock = asyncio.get_running_loop().time
    upcoming = asyncio.ensure_future(anext(updates))
    try:
        while True:
            timeout = max(0.0, min(missing.values()) + delay - clock()) if missing else None
            await asyncio.wait({upcoming}, timeout=timeout)
            if upcoming.done():
                try:
                    current = upcoming.result()
                except StopAsyncIteration:
                    return
                upcoming = asyncio.ensure_future(anext(updates))
            missing = {each: missing.get(each, clock()) for each in published if each not in current}
            retained = {each for each, since in missing.items() if clock() - since < delay}
            if (addresses := sorted({*current, *retained})) != published:
                missing = {each: since for each, since in missing.items() if each in retained}
                published = addresses
                yield addresses
    finally:
        upcoming.cancel()
        await asyncio.wait({upcoming})
