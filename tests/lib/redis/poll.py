"""Wait for conditions inside a loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from scalekit_redis import RedisUnavailable
from tests.processes import pause_after


async def until(what: str, condition: Callable[[], object], limit: float = 60.0) -> None:
    """Wait until *condition* is true."""
    started = time.monotonic()
    while not condition():
        waited = time.monotonic() - started
        if waited > limit:
            raise TimeoutError(f"{what}: not within {limit:g}s")
        await asyncio.sleep(pause_after(waited, 0.005, 0.05))


async def until_answered(ask: Callable[[], Awaitable[Any]], limit: float = 60.0) -> Any:
    """Ask until Redis is available, and return its answer."""
    end = time.monotonic() + limit
    while True:
        try:
            return await ask()
        except RedisUnavailable:
            if time.monotonic() > end:
                raise
            await asyncio.sleep(0.01)


async def failure(ask: Callable[[], Awaitable[Any]]) -> RedisUnavailable:
    """Return the error that asking ends with."""
    try:
        answer = await ask()
    except RedisUnavailable as error:
        return error
    raise AssertionError(f"it was answered: {answer!r}")
