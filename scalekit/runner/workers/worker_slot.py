"""One of the places for a worker: there is always one in it, and a new one is ready before an old one goes."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable

from scalekit.runner.workers.backoff import RestartBackoff
from scalekit.runner.workers.child_process import WorkerFailed, described
from scalekit.runner.workers.worker_process import WorkerProcess

logger = logging.getLogger("scalekit")

Start = Callable[[str, int], Awaitable[WorkerProcess]]


class WorkerSlot:
    """Keeps one worker running.

    *start* starts a process, *on_end* is told of each that has ended, *on_failure* of each replacement that did not
    start.
    """

    def __init__(
        self,
        name: str,
        start: Start,
        on_end: Callable[[WorkerProcess], None],
        on_failure: Callable[[WorkerFailed], None],
    ) -> None:
        self.name = name
        self.workers: list[WorkerProcess] = []
        self._start = start
        self._on_end = on_end
        self._on_failure = on_failure
        self._generation = 0
        self._backoff = RestartBackoff()
        self._changing = asyncio.Lock()
        self._watching: set[asyncio.Task[None]] = set()
        self._standing_down = asyncio.Event()

    @property
    def serving(self) -> bool:
        """Whether a worker is ready here."""
        return any(worker.serves for worker in self.workers)

    async def fill(self) -> None:
        """Start the worker and wait until it serves; raises WorkerFailed when it does not."""
        self._generation += 1
        worker = await self._start(self.name, self._generation)
        self.workers.append(worker)
        if self._standing_down.is_set():
            worker.signal(signal.SIGTERM)
        watch = asyncio.create_task(self._watch(worker))
        self._watching.add(watch)
        watch.add_done_callback(self._watching.discard)
        await worker.wait_until_ready()

    async def renew(self) -> None:
        """Replace the worker by a new one, which is ready first; wait until the old one has ended.

        Raises WorkerFailed when the new one does not start; the old one then stays.
        """
        async with self._changing:
            old = [worker for worker in self.workers if not worker.retiring]
            await self.fill()
            for worker in old:
                worker.retire()
        if old:
            await asyncio.wait({worker.ended for worker in old})

    def stand_down(self) -> None:
        """Start none any more."""
        self._standing_down.set()

    async def wait_until_empty(self) -> None:
        """Wait until every worker has ended."""
        while self._watching:
            await asyncio.wait(self._watching)

    async def _watch(self, worker: WorkerProcess) -> None:
        status = await worker.ended
        self._on_end(worker)
        self.workers.remove(worker)
        if worker.retiring or not worker.is_ready or self._standing_down.is_set():
            return
        self._backoff.count_crash(asyncio.get_running_loop().time() - worker.started)
        await self._replace(f"{worker}: {described(status)}")

    async def _replace(self, reason: str) -> None:
        """Fill the slot, however often it takes, unless somebody else has."""
        while not self._standing_down.is_set():
            delay = self._backoff.delay
            logger.error("%s; a new worker starts %s", reason, f"in {delay:g}s" if delay else "now")
            await self._pause(delay)
            async with self._changing:
                if self._standing_down.is_set() or self.serving:
                    return
                try:
                    await self.fill()
                except WorkerFailed as error:
                    reason = str(error)
                    self._backoff.count_failed_start()
                    self._on_failure(error)
                else:
                    return

    async def _pause(self, delay: float) -> None:
        try:
            async with asyncio.timeout(delay):
                await self._standing_down.wait()
        except TimeoutError:
            pass
