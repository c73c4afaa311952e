"""Run the application's own lifespan over the ASGI protocol, as a server does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from starlette.types import ASGIApp, Message, Scope

from scalekit.app_loader import describe_error
from scalekit.context import SCOPE_KEY, Context
from scalekit.errors import ApplicationStartError, StopError
from scalekit.lifespan_detection import is_unsupported_scope

logger = logging.getLogger("scalekit")

SCOPE: Scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}}
OUTCOME_TIMEOUT = 1.0
"""Seconds within which a lifespan that has reported a failure raises its exception."""


@asynccontextmanager
async def app_lifespan(
    app: ASGIApp, state: dict[str, object], context: Context | None = None
) -> AsyncGenerator[None, None]:
    """Start *app*, whose lifespan may add to *state* and use *context*, and stop it on exit.

    An application that returns before it sends a message, or raises an exception about the unsupported scope, is served
    without a lifespan; any other exception fails the start. A lifespan that fails later is logged, and the application
    is still served, as by other servers. Raises ApplicationStartError with the application's message when the start
    fails; when the stop fails, the application's exception, or StopError without one.
    """
    protocol = _Protocol(app, state, context)
    task = asyncio.create_task(protocol.run(), name="scalekit: the application's lifespan")
    task.add_done_callback(protocol.log_failure)
    try:
        await protocol.startup(task)
        yield
        await protocol.shutdown(task)
    finally:
        task.cancel()
        await asyncio.wait({task})


class _Protocol:
    def __init__(self, app: ASGIApp, state: dict[str, object], context: Context | None) -> None:
        self.app = app
        self.scope: Scope = {**SCOPE, "state": state}
        if context is not None:
            self.scope[SCOPE_KEY] = context
        self.to_app: asyncio.Queue[Message] = asyncio.Queue(maxsize=2)
        self.from_app: asyncio.Queue[Message] = asyncio.Queue(maxsize=4)
        self.supported = True
        self.started = False
        self.stopping = False

    async def run(self) -> None:
        try:
            await self.app(self.scope, self.to_app.get, self.send)
        except SystemExit as error:  # asyncio would end the event loop with it, before anything else is stopped
            kind = StopError if self.stopping else ApplicationStartError
            raise kind(describe_error(error)) from error

    async def send(self, message: Message) -> None:
        if message["type"] == "lifespan.startup.complete":  # frameworks report later failures before they raise them
            self.started = True
        await self.from_app.put(message)

    def log_failure(self, task: asyncio.Task[None]) -> None:
        error = _error(task)
        if error is not None and self.started and not self.stopping:
            logger.error("the application's lifespan failed", exc_info=error)

    async def startup(self, task: asyncio.Task[None]) -> None:
        reply = await self._send_event(task, "lifespan.startup")
        if reply is None or not reply["type"].startswith("lifespan.startup."):
            self.supported = False
            if reply is None:
                _raise_failure(_error(task), self.scope)
        elif reply["type"] == "lifespan.startup.failed":
            error = await _final_error(task)
            raise ApplicationStartError(_failure_message(reply, error)) from error

    async def shutdown(self, task: asyncio.Task[None]) -> None:
        if not self.supported or task.done():  # log_failure has logged an early end
            return
        self.stopping = True
        reply = await self._send_event(task, "lifespan.shutdown")
        if reply is not None and reply["type"] == "lifespan.shutdown.complete":
            return
        error = await _final_error(task)
        if error is not None:
            raise error
        if reply is not None:
            raise StopError(_failure_message(reply, None))

    async def _send_event(self, task: asyncio.Task[None], event: str) -> Message | None:
        """Send *event* and return the application's reply, or None when the application returns without one."""
        await self.to_app.put({"type": event})
        reply = asyncio.ensure_future(self.from_app.get())
        await asyncio.wait({reply, task}, return_when=asyncio.FIRST_COMPLETED)
        if reply.done():
            return reply.result()
        reply.cancel()
        return self.from_app.get_nowait() if not self.from_app.empty() else None


async def verify_lifespan(app: ASGIApp, context: Context, timeout: float) -> None:
    """Call *app* with a lifespan scope but send no event; raises ApplicationStartError when *app* fails at once."""
    scope: Scope = {**SCOPE, "state": {}, SCOPE_KEY: context}
    called = asyncio.Event()

    async def receive() -> Message:
        called.set()
        await asyncio.Event().wait()
        raise RuntimeError("no event is sent")

    sent: list[str] = []

    async def send(message: Message) -> None:
        sent.append(message["type"])
        called.set()

    async def call() -> None:
        try:
            await app(scope, receive, send)
        except SystemExit as error:
            raise ApplicationStartError(describe_error(error)) from error

    task, waiting = asyncio.create_task(call()), asyncio.create_task(called.wait())
    await asyncio.wait({task, waiting}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    error = _error(task) if task.done() and not sent else None
    task.cancel()
    waiting.cancel()
    await asyncio.wait({task, waiting}, timeout=timeout)
    _raise_failure(error, scope)


def _raise_failure(error: BaseException | None, scope: Scope) -> None:
    if isinstance(error, ApplicationStartError):
        raise error
    if error is None or is_unsupported_scope(error, scope):
        logger.debug("the application has no lifespan: %r", error)
        return
    raise ApplicationStartError(describe_error(error)) from error


def _failure_message(reply: Message, error: BaseException | None) -> str:
    """Return the message of a failed event; without one, the description of *error*, or the type of *reply*."""
    message = str(reply.get("message") or "").strip()
    return message or (reply["type"] if error is None else describe_error(error))


async def _final_error(task: asyncio.Task[None]) -> BaseException | None:
    """Return the exception of *task* after it has reported a failure, or None; frameworks raise it right after."""
    await asyncio.wait({task}, timeout=OUTCOME_TIMEOUT)
    return _error(task) if task.done() else None


def _error(task: asyncio.Task[None]) -> BaseException | None:
    return None if task.cancelled() else task.exception()
