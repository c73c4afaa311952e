"""The tasks of one request: validated when they are added, and published before its response is sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import HTTPConnection

from scalekit import ResourceError, new_request_id
from scalekit.contracts import Database, DurableTask, Queue, TaskFunction
from scalekit_queue.message_encoder import encode_body

SCOPE_KEY = "scalekit.queue"
"""The key of the ASGI scope that holds the tasks of a request."""
MAX_PENDING = 1000
"""Tasks of one request that are not published yet."""

PUBLISH_TIMEOUT = 5.0
"""Seconds within which a task must be stored."""


@dataclass(frozen=True, slots=True)
class PendingTask:
    """A task that is not published yet."""

    name: str
    body: Mapping[str, Any]
    id: str


class TaskPublisher:
    """Publishes calls of the declared *tasks* by *queue*, inside a transaction of *database* as a part of it.

    Without *database* there is no store of messages in transactions. Messages have at most *max_body* bytes.
    """

    def __init__(
        self, tasks: Mapping[TaskFunction, DurableTask], queue: Queue, database: Database | None, max_body: int
    ) -> None:
        self._tasks = tasks
        self._queue = queue
        self._database = database
        self._max_body = max_body

    def prepare(self, function: TaskFunction, args: Sequence[Any], kwargs: Mapping[str, Any]) -> PendingTask:
        """Return a call of *function*; raises TypeError and ValueError when it cannot be published."""
        task = self._find(function)
        body = task.encode(args, kwargs)
        try:
            encode_body(body, self._max_body)
        except ValueError as error:
            raise ValueError(f"the arguments of {task.name}: {error}") from None
        return PendingTask(task.name, body, new_request_id())

    def _find(self, function: TaskFunction) -> DurableTask:
        """Return the task that *function* was declared as; raises ValueError when it was not."""
        task = self._tasks.get(function)
        if task is None:
            raise ValueError(
                f"{getattr(function, '__qualname__', repr(function))} is not a task of this service: decorate it with"
                " @consumers.task(), of the consumers that [plugins.queue] names"
            )
        return task

    async def publish(self, task: PendingTask) -> None:
        """Store the message of *task*; raises PublishFailed when that fails."""
        if self._database is not None and self._database.in_transaction:
            await self._queue.publish_after(self._database, task.name, task.body, key=task.id)
        else:
            await self._queue.publish(task.name, task.body, key=task.id, timeout=PUBLISH_TIMEOUT)


class RequestTasks:
    """The tasks that a request has added, until they are published."""

    def __init__(self, publisher: TaskPublisher) -> None:
        self._publisher = publisher
        self._pending: list[PendingTask] = []
        self._is_closed = False

    def add_task(self, function: TaskFunction, /, *args: Any, **kwargs: Any) -> str:
        """Add a call of *function* and return the id of its message."""
        if self._is_closed:
            raise RuntimeError("the response has been sent: add tasks before it, or publish messages with QUEUE")
        if len(self._pending) >= MAX_PENDING:
            raise RuntimeError(f"the request has {MAX_PENDING} tasks that are not stored; call await tasks.flush()")
        pending = self._publisher.prepare(function, args, kwargs)
        self._pending.append(pending)
        return pending.id

    async def flush(self) -> None:
        """Publish the tasks added so far; raises PublishFailed when that fails, with the rest still pending."""
        while self._pending:
            task = self._pending.pop(0)
            try:
                await self._publisher.publish(task)
            except BaseException:
                self._pending.insert(0, task)
                raise

    def close(self) -> None:
        """Take no more tasks, and drop those that are pending."""
        self._is_closed = True
        self._pending.clear()


def tasks_of(connection: HTTPConnection) -> RequestTasks:
    """Return the tasks of a request; raises ResourceError where there are none."""
    tasks: RequestTasks | None = connection.scope.get(SCOPE_KEY)
    if tasks is None:
        raise ResourceError(
            "no tasks here: the request has ended, it is a websocket, or the consumers of [plugins.queue] have no"
            " function with @consumers.task()"
        )
    return tasks
