"""Wait for conditions and for Redis in the event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from scalekit_redis import RedisUnavailable
from tests.processes import pause_after


async def until(description: str, condition: Callable[[], object], limit: float = 60.0) -> None:
    """Wait until *condition* is true."""
    started = time.monotonic()
    while not condition():
        waited = time.monotonic() - started
        if waited > limit:
            raise TimeoutError(f"{description}: not within {limit:g}s")
        await asyncio.sleep(pause_after(waited, 0.005, 0.05))


async def until_available(send: Callable[[], Awaitable[Any]], limit: float = 60.0) -> Any:
    """Call *send* until Redis is available; return the reply."""
    end = time.monotonic() + limit
    while True:
        try:
            return await send()
        except RedisUnavailable:
            if time.monotonic() > end:
                raise
            await asyncio.sleep(0.01)


async def failure(send: Callable[[], Awaitable[Any]]) -> RedisUnavailable:
    """Return the error of *send*; fail when it succeeds."""
    try:
        reply = await send()
    except RedisUnavailable as error:
        return error
    raise AssertionError(f"expected RedisUnavailable, got {reply!r}")
