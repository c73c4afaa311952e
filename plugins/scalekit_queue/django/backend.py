"""The backend of tasks: enqueue a call as a message, and read its result; and the consumers of the messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from time import time
from typing import Any

import django
from django.apps import apps
from django.core.checks import CheckMessage, Error
from django.core.exceptions import ImproperlyConfigured

from scalekit import ResourceError, new_request_id
from scalekit.contracts import Consumers, PublishFailed
from scalekit_queue.django.api import BaseTaskBackend, InvalidTask, TaskResultDoesNotExist, signals, task_backends
from scalekit_queue.django.call import TaskCall, call_of, message_name
from scalekit_queue.django.options import declare_consumers
from scalekit_queue.django.results import change, moment, new_result, result_of
from scalekit_queue.jobs.task_results import TaskRecord
from scalekit_queue.publisher import JobStores
from scalekit_queue.running_queue import RunningQueue, running_queue

MAX_DELAY = 30 * 86400.0
"""Seconds by which a message can be delayed."""


class ScaleKitBackend(BaseTaskBackend):  # type: ignore[misc]  # Django has no types
    """Stores tasks in the queue of ``[plugins.queue]``, whose consumers run them."""

    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    def validate_task(self, task: Any) -> None:
        """Raise InvalidTask for a task that cannot be enqueued."""
        super().validate_task(task)
        if task.run_after is not None and task.run_after.timestamp() > time() + MAX_DELAY:
            raise InvalidTask("run_after must be within the next 30 days.")

    def check(self, **kwargs: Any) -> Iterable[CheckMessage]:
        """Return the mistake in the settings of the backend, if there is one."""
        try:
            declare_consumers(Consumers(), self.alias, self.queues, self.options)
        except ImproperlyConfigured as error:
            return [Error(str(error), id="scalekit_queue.E001")]
        return []

    def enqueue(self, task: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Store a call of *task*, and return its result; raises PublishFailed when it cannot be stored."""
        result, call = self._new_call(task, args, kwargs)
        queue = running_queue()
        queue.call(_publish(queue, result.id, call))
        change(result, enqueued_at=moment(call.enqueued))
        signals.task_enqueued.send_robust(type(self), task_result=result)
        return result

    async def aenqueue(self, task: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Store a call of *task* as `enqueue` does."""
        result, call = self._new_call(task, args, kwargs)
        queue = running_queue()
        await queue.acall(_publish(queue, result.id, call))
        change(result, enqueued_at=moment(call.enqueued))
        await signals.task_enqueued.asend_robust(type(self), task_result=result)
        return result

    def get_result(self, result_id: str) -> Any:
        """Return the result of a task; raises TaskResultDoesNotExist for an unknown or an expired one."""
        queue = running_queue()
        return self._result(result_id, queue.call(_read(queue, str(result_id))))

    async def aget_result(self, result_id: str) -> Any:
        """Return the result of a task as `get_result` does."""
        queue = running_queue()
        return self._result(result_id, await queue.acall(_read(queue, str(result_id))))

    def _new_call(self, task: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, TaskCall]:
        self.validate_task(task)
        result = new_result(task, new_request_id(), self.alias, args, dict(kwargs))
        return result, call_of(task, self.alias, result.args, result.kwargs)

    def _result(self, identifier: str, record: TaskRecord | None) -> Any:
        call = None if record is None else TaskCall.model_validate(record.call)
        if record is None or call is None or call.backend != self.alias:
            raise TaskResultDoesNotExist(identifier)
        try:
            return result_of(record, call, identifier)
        except ImportError as error:
            raise TaskResultDoesNotExist(f"{identifier}: {error}") from error


def task_consumers(consumers: Consumers | None = None) -> Consumers:
    """Return *consumers*, by default new ones, with a consumer for each queue of the backends in ``TASKS``.

    It sets Django up if that has not happened. Raises ImproperlyConfigured for invalid settings, and without a backend.
    """
    if not apps.ready:
        django.setup()
    found = consumers if consumers is not None else Consumers()
    backends = [each for each in task_backends.all(initialized_only=False) if isinstance(each, ScaleKitBackend)]
    if not backends:
        raise ImproperlyConfigured(
            'no backend of TASKS is a ScaleKitBackend: set TASKS = {"default": {"BACKEND":'
            ' "scalekit_queue.django.ScaleKitBackend"}}'
        )
    for backend in backends:
        declare_consumers(found, backend.alias, backend.queues, backend.options)
    return found


async def _publish(queue: RunningQueue, identifier: str, call: TaskCall) -> None:
    """Store *call* and publish its message, in the transaction of the request if it has one; raises PublishFailed."""
    name, body = message_name(call.backend, call.queue_name), call.model_dump()
    stores = _stores(queue, name)
    options: dict[str, Any] = {"key": identifier, "delay": call.delay, "priority": call.message_priority}
    if queue.database is not None and queue.database.in_transaction:
        await stores.task_results.add_in(queue.database, identifier, body, call.delay)
        await queue.publisher.publish_after(queue.database, name, body, **options)
        return
    await stores.task_results.add(identifier, body, call.delay)
    try:
        await queue.publisher.publish(name, body, **options)
    except PublishFailed as failure:
        if not failure.maybe_sent:
            await stores.task_results.withdraw(identifier)
        raise
    except ValueError:
        await stores.task_results.withdraw(identifier)
        raise


async def _read(queue: RunningQueue, identifier: str) -> TaskRecord | None:
    return await _stores(queue).task_results.read(identifier)


def _stores(queue: RunningQueue, name: str = "") -> JobStores:
    """Return the stores of *queue*; raises ResourceError without them, and without a consumer of messages *name*."""
    if queue.stores is None:
        raise ResourceError(
            "tasks need a store of jobs: turn on [plugins.pool] and set outbox = true in [plugins.queue]"
        )
    if name and name not in queue.stores.jobs:
        raise ResourceError(
            f"the messages {name!r} of this task have no consumer: let consumers in [plugins.queue] name what"
            " scalekit_queue.django.task_consumers() returns"
        )
    return queue.stores
