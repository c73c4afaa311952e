"""What all workers have counted, put together when somebody asks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from scalekit.runner.workers.metrics import ENDED, SERVING
from scalekit.runner.workers.worker_process import WorkerProcess
from scalekit.telemetry import Telemetry
from scalekit.telemetry.snapshot import decode, encode
from scalekit.telemetry.worker_totals import Totals

REASONS = ("crashed", "hung", "retired")

PATIENCE = 0.25
"""Seconds to wait for the numbers of each worker; one that is silent counts with those that it sent last."""


class MetricsAggregator:
    """The latest numbers of every worker, decoded only when they are needed."""

    def __init__(self, serving: Callable[[], Iterable[WorkerProcess]]) -> None:
        self._serving = serving
        self._totals = Totals()
        self._own = Telemetry(budget=len(REASONS))
        for why in REASONS:
            self._own.series(ENDED, why)
        self._latest: dict[WorkerProcess, bytes] = {}
        self._awaited: dict[WorkerProcess, asyncio.Event] = {}
        self._gathering = asyncio.Lock()
        self._next: asyncio.Task[bytes] | None = None

    def receive(self, worker: WorkerProcess, numbers: bytes) -> None:
        """Keep the *numbers* of *worker*."""
        self._latest[worker] = numbers
        if worker in self._awaited:
            self._awaited[worker].set()

    def end(self, worker: WorkerProcess) -> None:
        """Keep what *worker* has counted, now that it has ended."""
        self._own.series(ENDED, worker.why_ended).inc()
        self._take(worker)
        self._totals.end(worker.slot, worker.generation)
        if worker in self._awaited:
            self._awaited[worker].set()

    async def total(self) -> bytes:
        """Return the encoded total of numbers that every worker sends after this was called.

        Those who ask while others are answered share the next round.
        """
        if self._next is None:
            self._next = asyncio.create_task(self._round())
        return await asyncio.shield(self._next)

    async def _round(self) -> bytes:
        async with self._gathering:
            self._next = None
            self._awaited = {worker: asyncio.Event() for worker in self._serving()}
            waiting = [asyncio.create_task(event.wait()) for event in self._awaited.values()]
            for worker in self._awaited:
                worker.ask_for_numbers()
            _, silent = await asyncio.wait(waiting, timeout=PATIENCE)
            for task in silent:
                task.cancel()
            for worker in list(self._latest):
                self._take(worker)
            self._own.series(SERVING).set(len([worker for worker in self._serving() if worker.serves]))
            self._totals.update("supervisor", self._own.snapshot())
            return encode(self._totals.total())

    def _take(self, worker: WorkerProcess) -> None:
        numbers = self._latest.pop(worker, None)
        if numbers is not None:
            self._totals.update(worker.slot, decode(numbers), worker.generation)
