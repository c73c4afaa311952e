"""Publish the tasks of a request before its response is sent."""

from __future__ import annotations

from functools import partial

from starlette.types import ASGIApp, Message, Send

from scalekit import Decision, Exchange, Filter
from scalekit_queue.request_tasks import SCOPE_KEY, RequestTasks, TaskPublisher

START = "http.response.start"


class TaskFilter(Filter):
    """Gives each request its tasks; *publisher* is set while the plugin runs.

    It is inside of the filters that hold a transaction around the application, so that the tasks are a part of it.
    """

    publisher: TaskPublisher | None = None

    def on_request(self, exchange: Exchange) -> Decision:
        """Take over every request: a failure to publish replaces the response of the application."""
        return None if self.publisher is None else partial(self._serve, exchange, RequestTasks(self.publisher))

    async def _serve(self, exchange: Exchange, tasks: RequestTasks, app: ASGIApp) -> None:
        response = TaskedResponse(tasks, exchange.send)
        exchange.scope[SCOPE_KEY] = tasks
        try:
            await app(exchange.scope, exchange.receive, response.send)
        except Exception:
            if response.failure is None:
                raise
        finally:
            tasks.close()
            exchange.scope.pop(SCOPE_KEY, None)
        if response.failure is not None:  # the application may have handled it, as an error of its response
            raise response.failure


class TaskedResponse:
    """Sends a response by *send*, its start and its end once *tasks* are published.

    *failure* is the error of publishing them; afterwards nothing more is sent.
    """

    def __init__(self, tasks: RequestTasks, send: Send) -> None:
        self.failure: BaseException | None = None
        self._tasks = tasks
        self._send = send
        self._is_error = False

    async def send(self, message: Message) -> None:
        """Send *message*."""
        if self.failure is not None:
            return
        is_start = message["type"] == START
        if is_start:
            self._is_error = message["status"] >= 400
        if not message.get("more_body", False):
            if not self._is_error:
                await self._publish()
            if not is_start:
                self._tasks.close()
        await self._send(message)

    async def _publish(self) -> None:
        try:
            await self._tasks.flush()
        except BaseException as error:
            self.failure = error
            raise
