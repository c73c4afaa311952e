"""Tell real changes of instances from restarts.

A reload makes nginx close idle connections, and a client that is about to use one loses its request, so there should be
few. An instance that restarts needs none: nginx passes it by while it is away.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator


async def settled(changes: AsyncGenerator[list[str], None], patience: float) -> AsyncGenerator[list[str], None]:
    """Yield the addresses of *changes*, new ones at once, without those that have been gone for *patience* seconds."""
    shown: list[str] = []
    wanted: list[str] = []
    gone: dict[str, float] = {}
    clock = asyncio.get_running_loop().time
    following = asyncio.ensure_future(anext(changes))
    try:
        while True:
            timeout = max(0.0, min(gone.values()) + patience - clock()) if gone else None
            await asyncio.wait({following}, timeout=timeout)
            if following.done():
                try:
                    wanted = following.result()
                except StopAsyncIteration:
                    return
                following = asyncio.ensure_future(anext(changes))
            gone = {each: gone.get(each, clock()) for each in shown if each not in wanted}
            lingering = {each for each, since in gone.items() if clock() - since < patience}
            if (now := sorted({*wanted, *lingering})) != shown:
                gone = {each: since for each, since in gone.items() if each in lingering}
                shown = now
                yield now
    finally:
        following.cancel()
        await asyncio.wait({following})
