"""Find the causes of heap growth: object counts by type and, with tracemalloc, allocations by line."""

from __future__ import annotations

import asyncio
import gc
import os
import time
import tracemalloc
from collections import Counter
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Any

import orjson

from scalekit.runner.memory.usage import pss, rss

TOPIC = b"memory"
TOP_TYPES = 20


@contextmanager
def tracing(frames: int) -> Generator[None, None, None]:
    """Trace allocations with *frames* stack frames each inside the block; 0 disables tracing."""
    if frames and not tracemalloc.is_tracing():
        tracemalloc.start(frames)
        try:
            yield
        finally:
            tracemalloc.stop()
    else:
        yield


def memory_query_handler() -> Callable[[bytes], Awaitable[bytes]]:
    """Return the handler of the memory query in this process; it runs one comparison at a time."""
    growth = HeapGrowth()
    comparing = asyncio.Lock()

    async def handle(argument: bytes) -> bytes:
        async with comparing:
            return orjson.dumps(await asyncio.to_thread(growth.compare))

    return handle


class HeapGrowth:
    """Compares object counts with those of the previous call, and of the first."""

    def __init__(self) -> None:
        self._first: Counter[str] = Counter()
        self._before: Counter[str] = Counter()
        self._first_at: float | None = None
        self._compared_at: float | None = None

    def compare(self) -> dict[str, Any]:
        """Return usage, and the types that grew most since the last and the first call; slow: call it in a thread."""
        types = Counter(_name(type(each)) for each in gc.get_objects())
        growing, growing_since_first = _growth(types, self._before), _growth(types, self._first)
        now = time.monotonic()
        before, self._compared_at = self._compared_at, now
        self._before = types
        if self._first_at is None:
            self._first_at, self._first = now, types
        return {
            "pid": os.getpid(),
            "seconds_since_last_call": None if before is None else now - before,
            "seconds_since_first_call": None if before is None else now - self._first_at,
            "resident_bytes": rss(os.getpid()),
            "proportional_bytes": pss(os.getpid()),
            "objects": types.total(),
            "frozen_objects": gc.get_freeze_count(),
            "collections": gc.get_stats(),
            "growing": growing,
            "growing_since_first_call": growing_since_first,
            "allocations": _allocations() if tracemalloc.is_tracing() else None,
        }


def _growth(types: Counter[str], before: Counter[str]) -> list[dict[str, Any]]:
    """Return the types with the largest increase."""
    more = types - before
    return [{"type": name, "more": count, "objects": types[name]} for name, count in more.most_common(TOP_TYPES)]


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _allocations() -> list[dict[str, Any]]:
    statistics = tracemalloc.take_snapshot().statistics("lineno")[:TOP_TYPES]
    return [{"line": str(each.traceback), "bytes": each.size, "blocks": each.count} for each in statistics]
