"""One run of a handler whose message has a status: its records, progress and cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from time import time
from typing import Any

from scalekit import encode_json
from scalekit.contracts import JobState
from scalekit_queue.envelope import Envelope, storable_text
from scalekit_queue.jobs.store import JobRecord
from scalekit_queue.metrics import ConsumeOutcome

MAX_NOTE = 500
"""Characters of a note of progress."""
MAX_RESULT = 64 * 1024
"""Bytes of a result, as JSON."""
UNFINISHED_TTL = 30 * 86400.0
"""Seconds for which the status of a message is kept that has not ended, after it is due or was delivered."""
STATES = {
    ConsumeOutcome.DONE: JobState.SUCCEEDED,
    ConsumeOutcome.DUPLICATE: JobState.SUCCEEDED,
    ConsumeOutcome.DEAD_LETTERED: JobState.FAILED,
    ConsumeOutcome.CANCELLED: JobState.CANCELLED,
}
"""The states after an outcome; after any other one the message is delivered again."""

Write = Callable[[JobRecord], Awaitable[bool]]


def queued_job(envelope: Envelope) -> JobRecord:
    """Return the record of a message that is published."""
    expires = envelope.published + envelope.delay + UNFINISHED_TTL
    identifier = storable_text(envelope.id)  # other publishers may choose any
    return JobRecord(identifier, envelope.name, JobState.QUEUED, 0, envelope.published, expires)


class JobCancelled(Exception):
    """The message was cancelled before its handler started."""


class Job:
    """The run of the current task, whose records *write* stores; its result is kept for *ttl* seconds."""

    def __init__(self, envelope: Envelope, ttl: float, write: Write) -> None:
        self.is_cancelled = False
        self.has_news = False
        self._ttl = ttl
        self._write = write
        self._task = asyncio.current_task()
        self._result: str | None = None
        self._error = ""
        self._record = replace(
            queued_job(envelope),
            state=JobState.RUNNING,
            attempt=envelope.attempt,
            started=time(),
            expires=time() + UNFINISHED_TTL,
        )
        self.key = (self._record.name, self._record.id)

    @property
    def record(self) -> JobRecord:
        """The record of the running job."""
        return self._record

    @property
    def result(self) -> str | None:
        """What the handler returned, as JSON; None for None, and for what cannot be kept."""
        return self._result

    async def begin(self) -> None:
        """Record that the handler starts; raises JobCancelled for a message that was cancelled."""
        if not await self._write(self._record):
            self.is_cancelled = True
            self._record = replace(self._record, attempt=self._record.attempt - 1, started=None)
            raise JobCancelled

    def report(self, fraction: float, note: str) -> None:
        """Take over the progress, which the tracker writes; any thread may call it."""
        self._record = replace(self._record, progress=fraction, note=storable_text(note)[:MAX_NOTE])
        self.has_news = True

    def cancel(self) -> None:
        """Cancel the handler."""
        if not self.is_cancelled and self._task is not None:
            self.is_cancelled = True
            self._task.cancel()

    def keep_result(self, result: Any) -> None:
        """Keep *result*, or the reason why it cannot be kept."""
        if result is None:
            return
        try:
            encoded = encode_json(result)
        except ValueError as error:
            self._error = f"the result is not kept: {error}"
            return
        if len(encoded) > MAX_RESULT:
            self._error = f"the result is not kept: it has {len(encoded)} bytes, more than {MAX_RESULT}"
        else:
            self._result = encoded.decode()

    async def end(self, outcome: ConsumeOutcome, error: str) -> bool:
        """Record *outcome*; return False when the message was cancelled meanwhile and is not retried."""
        state = STATES.get(outcome, JobState.RETRYING)
        now = time()
        succeeded = state is JobState.SUCCEEDED
        record = replace(
            self._record,
            state=state,
            ended=now if state.is_final else None,
            expires=now + (self._ttl if state.is_final else UNFINISHED_TTL),
            progress=1.0 if succeeded else self._record.progress,
            result=self._result if succeeded else None,
            error=storable_text(error or self._error),
        )
        return await self._write(record)
