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
    """Compares object counts with those of the previous call."""

    def __init__(self) -> None:
        self._before: Counter[str] = Counter()
        self._compared_at: float | None = None

    def compare(self) -> dict[str, Any]:
        """Return usage, and the types that grew most since the last call; slow, so call it in a thread."""
        types = Counter(_name(type(each)) for each in gc.get_objects())
        more = types - self._before
        before, self._compared_at = self._compared_at, time.monotonic()
        self._before = types
        return {
            "pid": os.getpid(),
            "seconds_since_last_call": None if before is None else self._compared_at - before,
            "resident_bytes": rss(os.getpid()),
            "proportional_bytes": pss(os.getpid()),
            "objects": types.total(),
            "frozen_objects": gc.get_freeze_count(),
            "collections": gc.get_stats(),
            "growing": [
                {"type": name, "more": count, "objects": types[name]} for name, count in more.most_common(TOP_TYPES)
            ],
            "allocations": _allocations() if tracemalloc.is_tracing() else None,
        }


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _allocations() -> list[dict[str, Any]]:
    statistics = tracemalloc.take_snapshot().statistics("lineno")[:TOP_TYPES]
    return [{"line": str(each.traceback), "bytes": each.size, "blocks": each.count} for each in statistics]
