"""Track the jobs of a service: record what is published and handled, write progress, and cancel handlers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from time import monotonic

from scalekit.contracts import Consumer, JobState, JobStatus, PublishFailed, Statements
from scalekit_queue.batch_writer import BatchWriter
from scalekit_queue.envelope import Envelope
from scalekit_queue.jobs.job import Job, queued_job
from scalekit_queue.jobs.store import JobRecord, JobStore

logger = logging.getLogger("scalekit.queue")

INTERVAL = 0.3
"""Seconds between two looks at running jobs: their progress is written, and those to be cancelled are."""
MAX_BATCH = 500
"""Records in one statement."""
END_TIMEOUT = 10.0
"""Seconds to wait until the end of a job is written, before its message is settled all the same."""
CLEANUP_INTERVAL = 10.0
"""Seconds between two deletions of expired jobs; INTERVAL while there are more than one statement deletes."""


class JobTracker:
    """The jobs of those of *consumers* that have ``result_ttl``, in *store*."""

    def __init__(self, store: JobStore, consumers: Iterable[Consumer]) -> None:
        self.store = store
        self._ttls = {each.name: each.result_ttl for each in consumers if each.result_ttl is not None}
        self._writer: BatchWriter[JobRecord, bool] = BatchWriter(store.write, MAX_BATCH, "store the status of messages")
        self._running: set[Job] = set()
        self._started = asyncio.Event()

    def __contains__(self, name: str) -> bool:
        return name in self._ttls

    def __bool__(self) -> bool:
        return bool(self._ttls)

    async def add(self, envelopes: Sequence[Envelope], timeout: float) -> None:
        """Record that *envelopes*, of one consumer, are queued; raises PublishFailed when that fails."""
        records = [queued_job(each) for each in envelopes]
        try:
            async with asyncio.timeout(timeout):
                await self._add(records)
        except Exception as error:
            reason = self._writer.status.last_error or str(error) or "the store does not respond"
            raise PublishFailed(f"the status of the message cannot be stored: {reason}", False) from error

    async def add_in(self, transaction: Statements, envelope: Envelope) -> None:
        """Record in *transaction* that *envelope* is queued."""
        await self.store.write_in(transaction, queued_job(envelope))

    async def withdraw(self, envelopes: Iterable[Envelope]) -> None:
        """Delete the records of *envelopes*, which were not sent; while the store is unavailable they expire."""
        try:
            for each in envelopes:
                await self.store.withdraw(each.name, each.id)
        except Exception as error:
            logger.warning("the status of messages that were not sent could not be deleted: %s", error)

    def job(self, envelope: Envelope) -> Job:
        """Return the job of the current task, which handles *envelope*."""
        return Job(envelope, self._ttls[envelope.name], self._write)

    async def begin(self, job: Job) -> None:
        """Record that the handler starts; raises JobCancelled when the message was cancelled.

        While the store is unavailable it waits.
        """
        await job.begin()
        self._running.add(job)
        self._started.set()

    def leave(self, job: Job) -> None:
        """Cancel *job* no more: its handler has ended."""
        self._running.discard(job)

    async def status(self, message_id: str) -> JobStatus | None:
        """Return the status of a message."""
        return await self.store.read(message_id)

    async def cancel(self, message_id: str) -> bool:
        """Cancel a message; return whether it had not ended."""
        return await self.store.cancel(message_id)

    async def run(self) -> None:
        """Write progress, cancel handlers and delete expired jobs, until cancelled."""
        cleanup = 0.0
        while True:
            try:
                if monotonic() >= cleanup:
                    cleanup = monotonic() + CLEANUP_INTERVAL
                    if await self.store.delete_expired():
                        cleanup = monotonic() + INTERVAL
                await self._look()
            except Exception as error:
                logger.warning("jobs cannot be cancelled or deleted, will retry: %s", error or type(error).__name__)
                await asyncio.sleep(1.0)
            await self._wait(max(0.0, cleanup - monotonic()))

    async def close(self) -> None:
        """Write the records that wait for a statement."""
        await self._writer.close()

    async def _add(self, records: Sequence[JobRecord]) -> None:
        if self.store.dialect == "sqlite":  # which has one writer: another task would wait for this one's transaction
            await self.store.write(records)
            return
        await asyncio.gather(*(self._writer.execute(each) for each in records))

    async def _wait(self, limit: float) -> None:
        """Wait for INTERVAL seconds, or while nothing runs for up to *limit* seconds."""
        if self._running:
            await asyncio.sleep(INTERVAL)
            return
        self._started.clear()
        try:
            async with asyncio.timeout(limit):
                await self._started.wait()
        except TimeoutError:
            return
        await asyncio.sleep(INTERVAL)

    async def _look(self) -> None:
        for job in self._running:
            if job.has_news:
                job.has_news = False
                self._writer.submit(job.record)
        if self._running:
            cancelling = await self.store.read_cancelling()
            for job in list(self._running):
                if job.key in cancelling:
                    job.cancel()

    async def _write(self, record: JobRecord) -> bool:
        """Write *record*; return whether the state before allowed it.

        After END_TIMEOUT seconds the end of a run is written in the background, and counts as allowed.
        """
        operation = self._writer.submit(record)
        if record.state is JobState.RUNNING:
            return await self._writer.wait(operation)
        await asyncio.wait([operation.future], timeout=END_TIMEOUT)
        return operation.future.result() if operation.future.done() else True
