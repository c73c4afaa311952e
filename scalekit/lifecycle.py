"""The lifecycle of one application as one state machine: ``starting -> ready -> draining -> stopped``.

Each plugin, the health checks and the application itself are steps. Steps start one after the other and stop in reverse
order. Each runs in a task of its own, because the task that enters a context manager must also exit it, and because
only a task can be cancelled when it hangs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import Enum
from time import perf_counter

from scalekit.app_loader import describe_error
from scalekit.context import AnyKey, Context
from scalekit.errors import ResourceError, StartError, StopError
from scalekit.lifespan import Callback, Lifespan
from scalekit.start_order import providing

logger = logging.getLogger("scalekit")

CANCEL_GRACE = 1.0
"""Seconds that a cancelled step gets to unwind before it is abandoned."""

HEALTH = "health"
APPLICATION = "the application"


class Phase(Enum):
    """The state of an application's lifecycle."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Step:
    """A part that starts and stops with the application; timeouts are in seconds, None is no timeout."""

    name: str
    lifespan: Lifespan
    start_timeout: float | None
    stop_timeout: float
    plugin: str = ""


@dataclass(frozen=True, slots=True)
class StopFailure:
    """A step that failed to stop, and its exception."""

    step: str
    error: BaseException


class Lifecycle:
    """Start, drain and stop the steps of one application."""

    def __init__(self, steps: Sequence[Step], context: Context) -> None:
        self.phase = Phase.STOPPED
        self.failed: dict[str, str] = {}
        self.start_seconds: dict[str, float] = {}
        self.start_failure: BaseException | None = None
        self.stop_failures: list[StopFailure] = []
        self._drained = False
        self._start_cancelled = asyncio.Event()
        self._stop_forced = asyncio.Event()
        self.steps = steps
        self._context = context
        self._running: list[_Running] = []

    async def start(self) -> None:
        """Start every step; when one fails, stop those before it in reverse order and raise StartError naming it.

        Also raises StartError after :meth:`cancel_start`.
        """
        await self._begin(self._start_and_notify())

    async def _begin(self, starting: Coroutine[None, None, None]) -> None:
        self.phase = Phase.STARTING
        self.failed = {}
        self._drained = False
        try:
            if not await _unless(self._start_cancelled, starting):
                raise StartError("the start was cancelled before it was complete")
        except BaseException as error:
            self.start_failure = error
            await self.stop()
            raise
        if self.phase is Phase.STARTING:
            self.phase = Phase.READY

    def cancel_start(self) -> None:
        """Cancel the current or next start; do nothing once every step has started."""
        self._start_cancelled.set()

    def force_stop(self) -> None:
        """Cancel the steps that drain or stop now, and those that stop later, without waiting for them."""
        self._start_cancelled.set()
        self._stop_forced.set()

    def begin_drain(self) -> None:
        """Turn readiness off at once; safe in a signal handler."""
        if self.phase in (Phase.STARTING, Phase.READY):
            self.phase = Phase.DRAINING

    async def drain(self) -> None:
        """Turn readiness off and call the drain callback of every step once, concurrently."""
        self.begin_drain()
        await self.notify_drain()

    async def notify_drain(self) -> None:
        """Call the drain callback of every step once, while other workers keep serving."""
        if self._drained:
            return
        self._drained = True
        await _unless(self._stop_forced, self._call_all("drain", lambda lifespan: lifespan.drain))

    async def stop(self) -> list[str]:
        """Stop the running steps in reverse order; return the names of those that had to be cancelled.

        Exceptions of steps that failed to stop are logged and added to ``stop_failures``.
        """
        cancelled: list[str] = []
        self.stop_failures = []
        while self._running:
            running = self._running.pop()
            if not await running.stop(self._stop_forced):
                cancelled.append(running.step.name)
            elif (error := running.failure()) is not None:
                self.stop_failures.append(StopFailure(running.step.name, error))
            for key in running.step.lifespan.provides:
                self._context.withdraw(key)
        self.phase = Phase.STOPPED
        self._start_cancelled.clear()
        self._stop_forced.clear()
        return cancelled

    @asynccontextmanager
    async def running(self, *keys: AnyKey) -> AsyncGenerator[None, None]:
        """Start every step, or those that provide *keys* and their dependencies, and stop them on exit.

        The ``ready`` callbacks are not called, since no requests are served.
        """
        chosen = providing([step.lifespan for step in self.steps], keys)
        await self._begin(self._start_all([step for step in self.steps if not keys or step.lifespan in chosen]))
        try:
            yield
        finally:
            await self.stop()

    @asynccontextmanager
    async def start_independently(self) -> AsyncGenerator[dict[str, StartError | None], None]:
        """Start each step whose requirements have started, and stop all on exit.

        Yields the error by plugin of each step that failed, or None when a requirement of the step has not started.
        """
        failed: dict[str, StartError | None] = {}
        try:
            for step in self.steps:
                if not all(map(self._context.has, step.lifespan.requires)):
                    failed[step.plugin] = None
                    continue
                try:
                    await self._start(step)
                except StartError as error:
                    failed[step.plugin] = error
            yield failed
        finally:
            await self.stop()

    async def _start_all(self, steps: Sequence[Step]) -> None:
        for step in steps:
            await self._start(step)

    async def _start_and_notify(self) -> None:
        await self._start_all(self.steps)
        await self._call_all("ready", lambda lifespan: lifespan.ready)

    async def _start(self, step: Step) -> None:
        running = _Running(step, self._on_failure, self._context.redact)
        self._running.append(running)
        began = perf_counter()
        await running.start()
        self.start_seconds[step.name] = perf_counter() - began
        for key in step.lifespan.provides:
            if not self._context.has(key):
                raise StartError(f"{step.name} declares that it provides {key.name!r} but started without providing it")

    def _on_failure(self, name: str, reason: str) -> None:
        reason = self._context.redact(reason)
        self.failed[name] = reason
        logger.error("%s stopped unexpectedly: %s", name, reason)

    async def _call_all(self, callback_name: str, choose: Callable[[Lifespan], Callback | None]) -> None:
        calls = [(running.step, choose(running.step.lifespan)) for running in self._running]
        await asyncio.gather(*(_call(step, callback_name, callback) for step, callback in calls if callback))


async def _call(step: Step, callback_name: str, callback: Callback) -> None:
    try:
        async with asyncio.timeout(step.stop_timeout):
            await callback()
    except TimeoutError:
        logger.error("%s: %s did not finish within %gs and was cancelled", step.name, callback_name, step.stop_timeout)
    except Exception:
        logger.exception("%s: %s failed", step.name, callback_name)


class _Running:
    """One step in a task of its own."""

    def __init__(self, step: Step, on_failure: Callable[[str, str], None], redact: Callable[[str], str]) -> None:
        self.step = step
        self._on_failure = on_failure
        self._redact = redact
        self._started = asyncio.Event()
        self._leave = asyncio.Event()
        self._task = asyncio.create_task(self._live(), name=f"scalekit: {step.name}")

    async def _live(self) -> None:
        try:
            async with self.step.lifespan.run():
                self._started.set()
                await self._leave.wait()
        except SystemExit as error:  # it would end the event loop before the other steps have stopped
            raise (StopError if self._started.is_set() else StartError)(describe_error(error)) from error

    async def start(self) -> None:
        """Wait until the step has started; raises StartError when it fails or exceeds its timeout."""
        started = asyncio.ensure_future(self._started.wait())
        try:
            timeout = self.step.start_timeout
            await asyncio.wait({self._task, started}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            started.cancel()
        if self._task.done():
            raise _start_error(self.step.name, self._task, self._redact)
        if not self._started.is_set():
            raise StartError(f"{self.step.name} did not start within {timeout:g}s and was cancelled")
        self._task.add_done_callback(self._report_failure)

    async def stop(self, forced: asyncio.Event) -> bool:
        """Stop the step; return False when it exceeded its timeout, or *forced* was set, and it was cancelled."""
        self._leave.set()
        if not self._started.is_set():
            self._task.cancel()
        await _unless(forced, asyncio.wait({self._task}, timeout=self.step.stop_timeout))
        if not self._task.done():
            when = "at once" if forced.is_set() else f"within {self.step.stop_timeout:g}s"
            logger.error("%s did not stop %s and was cancelled", self.step.name, when)
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=CANCEL_GRACE)
            return False
        if (error := self.failure()) is not None:
            logger.error("%s failed to stop", self.step.name, exc_info=error)
        return True

    def failure(self) -> BaseException | None:
        """Return the exception of a step that has started and ended, or None."""
        ended = self._started.is_set() and self._task.done() and not self._task.cancelled()
        return self._task.exception() if ended else None

    def _report_failure(self, task: asyncio.Task[None]) -> None:
        if not self._leave.is_set():
            reason = "cancelled" if task.cancelled() else repr(task.exception())
            self._on_failure(self.step.name, reason)


async def _unless(event: asyncio.Event, work: Coroutine[None, None, object]) -> bool:
    """Run *work*, or cancel it when *event* is set first; return whether it finished."""
    task, waiting = asyncio.create_task(work), asyncio.create_task(event.wait())
    try:
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            await task
            return True
        return False
    finally:
        waiting.cancel()
        task.cancel()
        await asyncio.wait({task, waiting}, timeout=CANCEL_GRACE)


def _start_error(name: str, task: asyncio.Task[None], redact: Callable[[str], str]) -> StartError:
    error = None if task.cancelled() else task.exception()
    failure = StartError(f"{name} did not start: {redact(_describe(error))}")
    failure.__cause__ = error
    return failure


def _describe(error: BaseException | None) -> str:
    if error is None:
        return "it ended before it had started"
    return str(error) if isinstance(error, StartError | ResourceError) else f"{type(error).__name__}: {error}"
