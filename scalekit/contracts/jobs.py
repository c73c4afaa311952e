"""Contract of jobs: the status of messages whose consumer has ``result_ttl``, and the messages after them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class JobState(StrEnum):
    """Where a job is between its publication and its end."""

    QUEUED = "queued"
    RUNNING = "running"
    RETRYING = "retrying"
    """The handler failed or was interrupted, and the message waits for its next delivery."""
    CANCELLING = "cancelling"
    """The handler runs and is going to be cancelled."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """The message is a dead letter."""
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether the job has ended; a dead letter that is replayed runs again."""
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


@dataclass(frozen=True, slots=True)
class JobStatus:
    """The status of the message *id*; moments are in seconds since the epoch, None where they have not come yet.

    *attempt* is 0 before the first one. *progress*, from 0 to 1, and *note* are what the handler reported last,
    *result* is what it returned, and *error* why the last attempt failed, or why the result is not kept.
    """

    id: str
    name: str
    state: JobState
    attempt: int
    published: float
    started: float | None
    ended: float | None
    progress: float
    note: str
    result: Any
    error: str


@dataclass(frozen=True, slots=True)
class Then:
    """The message *name* that is published once another one has succeeded; *delay* and *priority* are its own.

    Its body is what the handler of the other message returned; with *body*, an object, it is that object with what the
    handler returned as ``result``.
    """

    name: str
    body: Any = None
    delay: str | float | None = None
    priority: int = 0
