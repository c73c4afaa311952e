"""Keep one worker running: restart it after a crash, and replace it without a gap.

On replacement the new worker is ready before the old one drains.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable

from scalekit.runner.workers.backoff import RestartBackoff
from scalekit.runner.workers.child_process import WorkerFailed, describe_exit
from scalekit.runner.workers.worker_process import WorkerProcess

logger = logging.getLogger("scalekit")

Spawn = Callable[[str, int], Awaitable[WorkerProcess]]


class WorkerSlot:
    """One of the numbered workers of a service.

    *spawn* starts a process, *on_end* is called with each worker that has exited, *on_failure* with the error of each
    replacement that failed to start.
    """

    def __init__(
        self,
        name: str,
        spawn: Spawn,
        on_end: Callable[[WorkerProcess], None],
        on_failure: Callable[[WorkerFailed], None],
    ) -> None:
        self.name = name
        self.workers: list[WorkerProcess] = []
        self._spawn = spawn
        self._on_end = on_end
        self._on_failure = on_failure
        self._generation = 0
        self._backoff = RestartBackoff()
        self._changing = asyncio.Lock()
        self._watching: set[asyncio.Task[None]] = set()
        self._stop_replacing = asyncio.Event()

    @property
    def serving(self) -> bool:
        """Whether a worker of this slot serves."""
        return any(worker.serves for worker in self.workers)

    async def start(self) -> None:
        """Start a worker and wait until it serves; raises WorkerFailed when it exits first."""
        self._generation += 1
        worker = await self._spawn(self.name, self._generation)
        self.workers.append(worker)
        if self._stop_replacing.is_set():
            worker.signal(signal.SIGTERM)
        watch = asyncio.create_task(self._watch(worker))
        self._watching.add(watch)
        watch.add_done_callback(self._watching.discard)
        await worker.wait_until_ready()

    async def replace(self) -> None:
        """Start a new worker, then retire the old one and wait until it has exited.

        Raises WorkerFailed when the new worker fails to start; the old one then keeps serving.
        """
        async with self._changing:
            old = [worker for worker in self.workers if not worker.retiring]
            await self.start()
            for worker in old:
                worker.retire()
        if old:
            await asyncio.wait({worker.ended for worker in old})

    def stop_replacing(self) -> None:
        """Start no more workers."""
        self._stop_replacing.set()

    async def wait_until_empty(self) -> None:
        """Wait until every worker has exited."""
        while self._watching:
            await asyncio.wait(self._watching)

    async def _watch(self, worker: WorkerProcess) -> None:
        status = await worker.ended
        self._on_end(worker)
        self.workers.remove(worker)
        if worker.retiring or not worker.is_ready or self._stop_replacing.is_set():
            return
        self._backoff.count_crash(asyncio.get_running_loop().time() - worker.started)
        await self._replace(f"{worker}: {describe_exit(status)}")

    async def _replace(self, reason: str) -> None:
        """Start a worker, with backoff until one serves; return early when one serves already."""
        while not self._stop_replacing.is_set():
            delay = self._backoff.delay
            logger.error("%s; a new worker starts %s", reason, f"in {delay:g}s" if delay else "now")
            await self._pause(delay)
            async with self._changing:
                if self._stop_replacing.is_set() or self.serving:
                    return
                try:
                    await self.start()
                except WorkerFailed as error:
                    reason = str(error)
                    self._backoff.count_failed_start()
                    self._on_failure(error)
                else:
                    return

    async def _pause(self, delay: float) -> None:
        try:
            async with asyncio.timeout(delay):
                await self._stop_replacing.wait()
        except TimeoutError:
            pass
