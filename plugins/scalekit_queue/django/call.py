"""The call of a task, as its message carries it."""

from __future__ import annotations

from bisect import bisect_right
from datetime import datetime
from time import time
from typing import Any

from django.utils.module_loading import import_string
from pydantic import BaseModel

from scalekit_queue.django.api import Task

LEVELS = (-50, -10, -1, 0, 1, 5, 10, 25, 50)
"""The lowest of Django's priorities in each priority of messages, from 1 on; below is 0."""


class TaskCall(BaseModel):
    """A call of the task at the path *task*, such as ``shop.tasks.send_receipt``, by the *backend* of that alias."""

    task: str
    backend: str
    args: list[Any]
    kwargs: dict[str, Any]
    queue_name: str
    priority: int
    run_after: datetime | None
    enqueued: float
    """Seconds since the epoch; messages of RabbitMQ have whole ones."""

    @property
    def message_priority(self) -> int:
        """The priority of the message, from 0 to 9."""
        return bisect_right(LEVELS, self.priority)

    @property
    def delay(self) -> float:
        """The seconds until the message is due."""
        return 0.0 if self.run_after is None else max(0.0, self.run_after.timestamp() - time())

    def load(self) -> Any:
        """Return the task with the options of this call; raises ImportError when the path has no task."""
        found = import_string(self.task)
        if not isinstance(found, Task):
            raise ImportError(f"{self.task} is no task: decorate it with @task")
        return found.using(
            backend=self.backend, queue_name=self.queue_name, priority=self.priority, run_after=self.run_after
        )


def call_of(task: Any, alias: str, args: list[Any], kwargs: dict[str, Any]) -> TaskCall:
    """Return the call of *task* by the backend *alias* with JSON-compatible arguments."""
    return TaskCall(
        task=task.module_path,
        backend=alias,
        args=args,
        kwargs=kwargs,
        queue_name=task.queue_name,
        priority=task.priority,
        run_after=task.run_after,
        enqueued=time(),
    )


def message_name(alias: str, queue_name: str) -> str:
    """Return the name of the messages of one queue of the backend *alias*."""
    return f"django.{alias}.{queue_name}"
