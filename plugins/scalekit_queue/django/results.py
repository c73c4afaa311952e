"""Results of tasks, from what the store knows of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo
from typing import Any

from django.conf import settings

from scalekit.contracts import JobState, JobStatus
from scalekit_queue.django.api import TaskError, TaskResult, TaskResultStatus
from scalekit_queue.django.call import TaskCall
from scalekit_queue.jobs.task_results import TaskRecord

STATUSES = {
    JobState.QUEUED: TaskResultStatus.READY,
    JobState.RETRYING: TaskResultStatus.READY,
    JobState.RUNNING: TaskResultStatus.RUNNING,
    JobState.CANCELLING: TaskResultStatus.RUNNING,
    JobState.SUCCEEDED: TaskResultStatus.SUCCESSFUL,
    JobState.FAILED: TaskResultStatus.FAILED,
    JobState.CANCELLED: TaskResultStatus.FAILED,
}


def new_result(task: Any, identifier: str, alias: str, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Return the result of a call that is not enqueued yet; raises TypeError for arguments that are not JSON."""
    return TaskResult(
        task=task,
        id=identifier,
        status=TaskResultStatus.READY,
        enqueued_at=None,
        started_at=None,
        last_attempted_at=None,
        finished_at=None,
        args=list(args),
        kwargs=kwargs,
        backend=alias,
        errors=[],
        worker_ids=[],
    )


def result_of(record: TaskRecord, call: TaskCall, identifier: str) -> Any:
    """Return the result of *call* that *record* describes; raises ImportError when its task is gone."""
    result = enqueued_result(call, identifier, record.attempts)
    status = record.status
    if status is None:
        return result
    if _has_more_errors(status, record.attempts):
        result.errors.append(_error_of(status))
    change(
        result,
        status=STATUSES[status.state],
        finished_at=moment(status.ended),
        _return_value=status.result,
    )
    return result


def enqueued_result(call: TaskCall, identifier: str, attempts: Sequence[Any]) -> Any:
    """Return the result of *call* after *attempts*; raises ImportError when its task is gone."""
    result = new_result(call.load(), identifier, call.backend, call.args, call.kwargs)
    change(result, enqueued_at=moment(call.enqueued))
    apply_attempts(result, attempts)
    return result


def apply_attempts(result: Any, attempts: Sequence[Any]) -> None:
    """Add the workers, moments and errors of *attempts* to *result*."""
    for each in attempts:
        if "error" in each:
            result.errors.append(TaskError(exception_class_path=each["error"], traceback=each["traceback"]))
        else:
            started = moment(each["started"])
            result.worker_ids.append(each["worker"])
            change(result, started_at=result.started_at or started, last_attempted_at=started)


def change(result: Any, **values: Any) -> None:
    """Set attributes of *result*, which is frozen."""
    for name, value in values.items():
        object.__setattr__(result, name, value)


def moment(seconds: float | None) -> datetime | None:
    """Return *seconds* since the epoch as Django stores moments: in UTC, or naive without USE_TZ."""
    zone: tzinfo | None = UTC if settings.USE_TZ else None
    return None if seconds is None else datetime.fromtimestamp(seconds, zone)


def _has_more_errors(status: JobStatus, attempts: Sequence[Any]) -> bool:
    """Return whether the message ended with an error that its last attempt has not recorded."""
    if status.state is JobState.SUCCEEDED:
        return bool(status.error)
    return status.state.is_final and not (attempts and "error" in attempts[-1])


def _error_of(status: JobStatus) -> Any:
    """Return the error of a task that no attempt has recorded."""
    kind = "asyncio.exceptions.CancelledError" if status.state is JobState.CANCELLED else "builtins.RuntimeError"
    return TaskError(exception_class_path=kind, traceback=status.error or "the task was cancelled")
