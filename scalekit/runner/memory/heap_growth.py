"""What grows in this process: its objects by type and, when switched on, its allocations by line."""

from __future__ import annotations

import asyncio
import gc
import os
import tracemalloc
from collections import Counter
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Any

import orjson

from scalekit.runner.memory.usage import proportional, resident

TOPIC = b"memory"
TOP = 20


@contextmanager
def tracing(frames: int) -> Generator[None, None, None]:
    """Remember where memory is allocated, up to *frames* deep, until left; 0 remembers nothing."""
    if frames and not tracemalloc.is_tracing():
        tracemalloc.start(frames)
        try:
            yield
        finally:
            tracemalloc.stop()
    else:
        yield


def memory_answer() -> Callable[[], Awaitable[bytes]]:
    """Return what answers the topic of memory for this process, one look at a time, as JSON."""
    growth = HeapGrowth()
    looking = asyncio.Lock()

    async def answer() -> bytes:
        async with looking:
            return orjson.dumps(await asyncio.to_thread(growth.look))

    return answer


class HeapGrowth:
    """Compares each look with the one before."""

    def __init__(self) -> None:
        self._before: Counter[str] = Counter()

    def look(self) -> dict[str, Any]:
        """Return what there is, largest growth first; takes its time, so call it in a thread."""
        types = Counter(_name(type(each)) for each in gc.get_objects())
        more = types - self._before
        self._before = types
        return {
            "pid": os.getpid(),
            "resident_bytes": resident(os.getpid()),
            "proportional_bytes": proportional(os.getpid()),
            "objects": types.total(),
            "frozen_objects": gc.get_freeze_count(),
            "collections": gc.get_stats(),
            "growing": [{"type": name, "more": count, "objects": types[name]} for name, count in more.most_common(TOP)],
            "allocations": _allocations() if tracemalloc.is_tracing() else None,
        }


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _allocations() -> list[dict[str, Any]]:
    statistics = tracemalloc.take_snapshot().statistics("lineno")[:TOP]
    return [{"line": str(each.traceback), "bytes": each.size, "blocks": each.count} for each in statistics]
