"""The memory of this process over the last hours, sampled while pages are shown."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import deque
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple

from scalekit.background_task import background_task
from scalekit.context import Key
from scalekit.runner.memory.usage import rss

INTERVAL = 60.0
"""Seconds between two samples; each takes microseconds."""
SAMPLES = 360


class MemorySample(NamedTuple):
    """Resident bytes, and blocks of memory that Python objects have, which grow when objects are kept."""

    resident_bytes: int
    blocks: int


class MemoryHistory:
    """The latest SAMPLES samples, the newest last."""

    def __init__(self, interval: float = INTERVAL) -> None:
        self.interval = interval
        self.samples: deque[MemorySample] = deque(maxlen=SAMPLES)

    def running(self) -> AbstractAsyncContextManager[None]:
        """Return a context manager inside which samples are taken."""
        return background_task(self._run(), "memory history")

    async def _run(self) -> None:
        while True:
            self.samples.append(MemorySample(rss(os.getpid()), sys.getallocatedblocks()))
            await asyncio.sleep(self.interval)


MEMORY_HISTORY: Key[MemoryHistory] = Key("memory history")
