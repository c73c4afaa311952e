from __future__ import annotations

import asyncio

import pytest

from scalekit.runner.memory.history import SAMPLES, MemoryHistory

pytestmark = pytest.mark.anyio


async def test_memory_is_sampled_in_bounded_space_while_it_runs() -> None:
    history = MemoryHistory(0.0)
    async with history.running(), asyncio.timeout(60):
        while len(history.samples) < SAMPLES:
            await asyncio.sleep(0)
        kept = [[] for _ in range(100_000)]  # type: ignore[var-annotated] # of nothing
        history.samples.clear()
        while len(history.samples) < 2:
            await asyncio.sleep(0)
    assert history.samples[-1].resident_bytes > len(kept)
    assert history.samples[-1].blocks > len(kept)
    ended = len(history.samples)
    await asyncio.sleep(0.01)
    assert len(history.samples) == ended
