"""Add up the metrics of all workers when they are scraped."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from scalekit.runner.workers.metrics import WORKER_EXITS, WORKERS
from scalekit.runner.workers.worker_process import WorkerProcess
from scalekit.telemetry import Telemetry
from scalekit.telemetry.snapshot import decode, encode
from scalekit.telemetry.worker_totals import Totals

REASONS = ("crashed", "hung", "retired")

COLLECT_TIMEOUT = 0.25
"""Seconds to wait for the snapshot of each worker; the last snapshot of a worker that does not respond is used."""


class MetricsAggregator:
    """The latest snapshot of the metrics of every worker, decoded only when a total is needed."""

    def __init__(self, list_workers: Callable[[], Iterable[WorkerProcess]]) -> None:
        self._list_workers = list_workers
        self._totals = Totals()
        self._own = Telemetry(budget=len(REASONS))
        for reason in REASONS:
            self._own.series(WORKER_EXITS, reason)
        self._latest: dict[WorkerProcess, bytes] = {}
        self._received: dict[WorkerProcess, asyncio.Event] = {}
        self._collecting = asyncio.Lock()
        self._next: asyncio.Task[bytes] | None = None

    def receive(self, worker: WorkerProcess, snapshot: bytes) -> None:
        """Store the *snapshot* of *worker*."""
        self._latest[worker] = snapshot
        if worker in self._received:
            self._received[worker].set()

    def end(self, worker: WorkerProcess) -> None:
        """Count the exit of *worker* and retain its counters in the total."""
        self._own.series(WORKER_EXITS, worker.exit_reason).inc()
        self._apply(worker)
        self._totals.mark_exited(worker.slot, worker.generation)
        if worker in self._received:
            self._received[worker].set()

    async def total(self) -> bytes:
        """Return the encoded total of snapshots that every worker takes after this call.

        Callers that arrive during a collection share the next one.
        """
        if self._next is None:
            self._next = asyncio.create_task(self._collect())
        return await asyncio.shield(self._next)

    async def _collect(self) -> bytes:
        async with self._collecting:
            self._next = None
            self._received = {worker: asyncio.Event() for worker in self._list_workers()}
            waiting = [asyncio.create_task(event.wait()) for event in self._received.values()]
            for worker in self._received:
                worker.request_metrics()
            _, silent = await asyncio.wait(waiting, timeout=COLLECT_TIMEOUT)
            for task in silent:
                task.cancel()
            for worker in list(self._latest):
                self._apply(worker)
            self._own.series(WORKERS).set(len([worker for worker in self._list_workers() if worker.serves]))
            self._totals.update("supervisor", self._own.snapshot())
            return encode(self._totals.total())

    def _apply(self, worker: WorkerProcess) -> None:
        snapshot = self._latest.pop(worker, None)
        if snapshot is not None:
            self._totals.update(worker.slot, decode(snapshot), worker.generation)
