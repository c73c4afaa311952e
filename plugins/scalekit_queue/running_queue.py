"""The queue that runs in this process, for code without request and context, such as that of Django."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from scalekit import ResourceError, Unavailable
from scalekit.contracts import Database
from scalekit_queue.publisher import JobStores, MessagePublisher

T = TypeVar("T")
CALL_TIMEOUT = 20.0
"""Seconds that a thread waits for the event loop; the stores and the broker have shorter time-outs."""

_running: list[RunningQueue] = []


@dataclass(frozen=True, slots=True)
class RunningQueue:
    """The *publisher* and the *stores* of a queue, which run in *loop*.

    Messages join transactions of *database*; it is None where they cannot.
    """

    publisher: MessagePublisher
    stores: JobStores | None
    database: Database | None
    loop: asyncio.AbstractEventLoop

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Return the result of *work*, which runs in the event loop with the context of this thread.

        Raises RuntimeError in the thread of the event loop, which would wait for itself.
        """
        if _current_loop() is self.loop:
            work.close()
            raise RuntimeError("this call would block the event loop: await the asynchronous form of it")
        future = asyncio.run_coroutine_threadsafe(work, self.loop)
        try:
            return future.result(CALL_TIMEOUT)
        except CancelledError:
            raise Unavailable("the queue has stopped") from None
        except TimeoutError:
            if future.done():
                raise
            future.cancel()
            raise Unavailable("the event loop of the queue does not respond") from None

    async def acall(self, work: Coroutine[Any, Any, T]) -> T:
        """Return the result of *work*, which runs in the event loop of the queue."""
        if _current_loop() is self.loop:
            return await work
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self.loop))


@contextmanager
def registered(queue: RunningQueue) -> Generator[None, None, None]:
    """Let `running_queue` return *queue* while inside."""
    _running.append(queue)
    try:
        yield
    finally:
        _running.remove(queue)


def running_queue() -> RunningQueue:
    """Return the queue of this process; raises ResourceError when none runs, or several."""
    if len(_running) != 1:
        problem = f"{len(_running)} queues run" if _running else "no queue runs"
        raise ResourceError(
            f"{problem} in this process: tasks are enqueued and read where the application runs with [plugins.queue]"
        )
    return _running[0]


def _current_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
