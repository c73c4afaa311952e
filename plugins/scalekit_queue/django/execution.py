"""Run the call of a task: in a thread or in the event loop, with its attempts recorded and Django's signals sent."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from inspect import iscoroutinefunction
from os import getpid
from socket import gethostname
from time import time
from typing import Any

from asgiref.sync import sync_to_async
from django.db import close_old_connections

from scalekit import format_traceback
from scalekit.contracts import Message
from scalekit_queue.django.api import TaskContext, TaskResultStatus, normalize_json, signals, task_backends
from scalekit_queue.django.call import TaskCall
from scalekit_queue.django.results import apply_attempts, change, enqueued_result, moment
from scalekit_queue.envelope import storable_text
from scalekit_queue.service import SERVICE

logger = logging.getLogger("scalekit.queue")

END_TIMEOUT = 10.0
"""Seconds that an attempt has, after the time-out of its task, to record its end."""
RETRY_DELAY = 1.0
"""Seconds before an attempt is recorded again, after an error."""
MAX_TRACEBACK = 8000
"""Characters of a traceback that a result shows: its end, where the error is."""


class TaskRunner:
    """Runs the tasks of one queue, at most *concurrency* of them in threads at a time.

    A task has *timeout* seconds; after *retries* more attempts it has failed. Its result is kept for *ttl* seconds.
    """

    def __init__(self, timeout: float, ttl: float, retries: int, concurrency: int) -> None:
        self._timeout = timeout
        self._ttl = ttl
        self._retries = retries
        self._threads = ThreadPoolExecutor(max_workers=max(1, concurrency), thread_name_prefix="django-task")

    def handler(self) -> Callable[[Message[TaskCall]], Awaitable[Any]]:
        """Return the handler of the consumer."""

        async def run_task(message: Message[TaskCall]) -> Any:
            return await self._run(message)

        return run_task

    async def _run(self, message: Message[TaskCall]) -> Any:
        attempt = TaskAttempt(message, self._timeout + self._ttl, message.attempt > self._retries)
        try:
            await attempt.begin()
            async with asyncio.timeout(self._timeout):
                value = normalize_json(await self._call(attempt.result))
        except Exception as error:
            await attempt.fail(error)
            raise
        else:
            await attempt.succeed(value)
            return value
        finally:
            await sync_to_async(close_old_connections)()  # of asynchronous tasks and receivers of signals

    async def _call(self, result: Any) -> Any:
        function = result.task.func
        context = [TaskContext(task_result=result)] if result.task.takes_context else []
        call = partial(function, *context, *result.args, **result.kwargs)
        try:
            if iscoroutinefunction(function):
                return await call()
            variables = contextvars.copy_context()
            return await asyncio.wrap_future(self._threads.submit(lambda: variables.run(_run_in_thread, call)))
        except SystemExit as error:  # it would end the process with all its requests
            raise RuntimeError(f"the task called sys.exit({error.code!r})") from error


class TaskAttempt:
    """One attempt of the call in *message*, recorded for *ttl* seconds if the task ends with it.

    *is_last* is whether the task has failed when this attempt fails.
    """

    def __init__(self, message: Message[TaskCall], ttl: float, is_last: bool) -> None:
        self.result: Any = None
        self._message = message
        self._ttl = ttl
        self._is_last = is_last
        self._call = message.body.model_dump()
        stores = message.context.get(SERVICE).stores
        if stores is None:
            raise RuntimeError("tasks need a store of jobs: set outbox = true in [plugins.queue]")
        self._store = stores.task_results

    async def begin(self) -> None:
        """Record the attempt, and load the task; while the store is unavailable it waits.

        Raises ImportError when the task is gone.
        """
        change_of_attempts = {"worker": f"{gethostname()}:{getpid()}"[:64], "started": time()}
        while True:
            try:
                attempts = await self._store.add_attempt(self._message.id, self._call, change_of_attempts, self._ttl)
            except Exception as error:
                logger.warning("an attempt of task %s cannot be recorded, will retry: %s", self._message.id, error)
                await asyncio.sleep(RETRY_DELAY)
            else:
                break
        self.result = enqueued_result(self._message.body, self._message.id, attempts)
        change(self.result, status=TaskResultStatus.RUNNING)
        await self._send(signals.task_started)

    async def fail(self, error: Exception) -> None:
        """Record *error*."""
        kind, text = type(error), format_traceback(error)
        traceback = storable_text(self._message.context.redact(text))[-MAX_TRACEBACK:]
        failure = {"error": f"{kind.__module__}.{kind.__qualname__}", "traceback": traceback}
        ttl = self._ttl if self._is_last else None
        try:
            await self._store.add_attempt(self._message.id, self._call, failure, ttl)
        except Exception as problem:
            logger.warning("the error of task %s cannot be recorded: %s", self._message.id, problem)
        if self._is_last and self.result is not None:
            apply_attempts(self.result, [failure])
            await self._finish(TaskResultStatus.FAILED)

    async def succeed(self, value: Any) -> None:
        """Send the signal of a successful task, which has returned *value*."""
        change(self.result, _return_value=value)
        await self._finish(TaskResultStatus.SUCCESSFUL)

    async def _finish(self, status: Any) -> None:
        change(self.result, status=status, finished_at=moment(time()))
        await self._send(signals.task_finished)

    async def _send(self, signal: Any) -> None:
        sender = type(task_backends[self.result.backend])
        await signal.asend_robust(sender, task_result=self.result)


def _run_in_thread(call: Callable[[], Any]) -> Any:
    close_old_connections()
    try:
        return call()
    finally:
        close_old_connections()
