"""A task that runs beside a block."""

from __future__ import annotations

import asyncio

import pytest

from scalekit import background_task


class Work:
    """Work that does not end by itself; *cancelled* is set at the end of its clean-up."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.name = ""
        self.cancelled = False

    async def run(self) -> None:
        """Wait for ever."""
        task = asyncio.current_task()
        assert task is not None
        self.name = task.get_name()
        self.started.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            self.cancelled = True


def test_the_task_has_ended_when_the_block_is_left() -> None:
    async def run() -> None:
        work = Work()
        async with background_task(work.run(), "work"):
            await work.started.wait()
            assert not work.cancelled
        assert (work.name, work.cancelled) == ("scalekit: work", True)

    asyncio.run(run())


def test_the_task_ends_when_the_block_fails() -> None:
    async def run() -> None:
        work = Work()

        async def fail() -> None:
            async with background_task(work.run(), "work"):
                await work.started.wait()
                raise LookupError

        with pytest.raises(LookupError):
            await fail()
        assert work.cancelled

    asyncio.run(run())
