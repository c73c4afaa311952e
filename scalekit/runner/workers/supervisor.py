"""Supervise the worker processes: start, restart after a crash or hang, reload on SIGHUP, stop."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Callable, Coroutine, Iterator, Sequence

from scalekit.config.tables import Server
from scalekit.overrides import OverrideRegistry
from scalekit.runner.memory.usage import available_memory, memory_in_use
from scalekit.runner.server.unix_listener import remove_files
from scalekit.runner.service_manager import ServiceManager
from scalekit.runner.workers.channel import ChannelMessage, MessageKind
from scalekit.runner.workers.child_process import ChildProcess, WorkerFailed
from scalekit.runner.workers.hub_server import HubServer
from scalekit.runner.workers.launcher import Launcher
from scalekit.runner.workers.log_forwarder import WorkerLogHandler
from scalekit.runner.workers.metrics_aggregator import MetricsAggregator
from scalekit.runner.workers.worker_process import WorkerProcess, hang_reason, spawn
from scalekit.runner.workers.worker_queries import QUERY_ID, QueryCoordinator
from scalekit.runner.workers.worker_restart import WorkerSlot

logger = logging.getLogger("scalekit")

TICK = 0.5
"""Seconds between two checks for workers that hang."""
MAX_TICK_DELAY = 1.0
"""A tick delayed by more seconds than this means that the supervisor itself did not run and read no heartbeats."""
RECENT = 1.8
"""Seconds since the last message of a worker within which log records are sent to it: less than two heartbeats."""
STOP_FAILED = 1
"""Exit status of a worker whose application or plugin raised an exception while stopping."""
FORCED_GRACE = 7.0
"""Seconds between a second signal and SIGKILL for workers that have not exited."""
STACKS_LOG_TIMEOUT = 20.0
"""Seconds to wait for a worker that can log the stacks of one that crashed."""
MIN_MEMORY_INTERVALS = 3
"""Memory checks before the limit applies to a new worker, so that a low limit does not cause a restart loop."""


def supervise(
    table: Server, command: Sequence[str], listeners: Sequence[socket.socket], on_serving: Callable[[], None]
) -> int:
    """Serve *listeners* with `server.workers` workers until a signal; return the exit status.

    *command* has the arguments of the interpreter that start a worker, without the worker's own; *on_serving* is called
    when all workers serve.
    """
    supervisor = Supervisor(table, command, listeners)
    fallback = logging.getLogger().handlers[:]
    logger.addHandler(WorkerLogHandler(supervisor.any_worker, fallback))
    logger.propagate = False
    try:
        return asyncio.run(supervisor.run(on_serving))
    finally:
        remove_files(listeners)


class Supervisor:
    """The workers of one service."""

    def __init__(self, table: Server, command: Sequence[str], listeners: Sequence[socket.socket]) -> None:
        self._table = table
        self._listeners = listeners
        descriptors = [each.fileno() for each in listeners]
        self._launcher = Launcher(command, descriptors, table.preload, self._on_child_end)
        self._metrics = MetricsAggregator(self._workers)
        self._hub = HubServer()
        self._queries = QueryCoordinator(self._workers)
        self._overrides = OverrideRegistry()
        self._slots = [
            WorkerSlot(str(number), self._spawn, self._on_end, self._on_failure)
            for number in range(1, (table.workers or 1) + 1)
        ]
        self._manager = ServiceManager()
        self._ending = asyncio.Event()
        self._reload = asyncio.Event()
        self._failure: WorkerFailed | None = None
        self._stop_failed = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, on_serving: Callable[[], None]) -> int:
        """Serve until a signal arrives or no worker can be started; return the exit status."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end, number)
        loop.add_signal_handler(signal.SIGHUP, self._reload.set)
        self._begin(self._watch_for_hangs())
        self._begin(self._manager.keep_alive(lambda: self._ending.is_set() or self._serving_workers() > 0))
        self._begin(self._start(on_serving))
        await self._ending.wait()
        for slot in self._slots:
            slot.stop_replacing()
        await asyncio.gather(*(slot.wait_until_empty() for slot in self._slots))
        await self._launcher.wait_until_closed()
        for task in self._tasks:
            task.cancel()
        return self._failure.exit_status if self._failure else int(self._stop_failed)

    async def _start(self, on_serving: Callable[[], None]) -> None:
        """Start one worker first, so that an error that affects all is logged once, then the others."""
        first, *others = self._slots
        try:
            await first.start()
            self._launcher.log_side_effects()
            await asyncio.gather(*(slot.start() for slot in others))
        except WorkerFailed as error:
            self._fail(error)
            return
        on_serving()
        self._manager.ready(f"serving by {self._serving_workers()} workers")
        self._begin(self._watch_memory())
        self._begin(self._reload_on_sighup())

    async def _spawn(self, slot: str, generation: int) -> WorkerProcess:
        worker = await spawn((slot, generation), self._launcher.launch, self._on_message)
        worker.send_overrides(self._overrides.current())
        return worker

    def any_worker(self) -> WorkerProcess | None:
        """Return the serving worker with the latest message, or None when no message is recent."""
        recent = asyncio.get_running_loop().time() - RECENT
        serving = [worker for worker in self._workers() if worker.serves and worker.last_message_at > recent]
        return max(serving, key=lambda worker: worker.last_message_at, default=None)

    def _workers(self) -> Iterator[WorkerProcess]:
        for slot in self._slots:
            yield from slot.workers

    def _end(self, number: signal.Signals) -> None:
        """Forward a signal to all workers and start no more; a second signal kills them after FORCED_GRACE."""
        self._manager.stopping()
        self._begin(self._kill() if self._ending.is_set() else self._remove_socket_files(number))
        self._ending.set()
        for slot in self._slots:
            slot.stop_replacing()
        for listener in self._listeners:  # else the kernel keeps accepting connections that no worker serves
            listener.close()
        self._launcher.close(number)
        for worker in self._workers():
            worker.signal(number)

    async def _remove_socket_files(self, number: signal.Signals) -> None:
        """Remove the files of Unix sockets just before the workers close these, so that no client connects then."""
        await asyncio.sleep(self._table.drain_delay if number == signal.SIGTERM else 0.0)
        remove_files(self._listeners)

    async def _kill(self) -> None:
        await asyncio.sleep(FORCED_GRACE)
        self._launcher.kill()
        for worker in self._workers():
            worker.signal(signal.SIGKILL)

    def _on_end(self, worker: WorkerProcess) -> None:
        """Retain the metrics of *worker*, and its failed stop, which sets the exit status of the service."""
        self._metrics.end(worker)
        self._hub.remove(worker)
        self._on_child_end(worker)
        if self._ending.is_set() and worker.is_ready and worker.ended.result() == STOP_FAILED:
            self._stop_failed = True

    def _on_child_end(self, child: ChildProcess) -> None:
        if child.stacks:
            self._begin(self._log_stacks(child))

    async def _log_stacks(self, child: ChildProcess) -> None:
        """Log the stacks of *child* through another worker, or its replacement, so that they have the log's format."""
        loop = asyncio.get_running_loop()
        end = loop.time() + STACKS_LOG_TIMEOUT
        while self.any_worker() is None and loop.time() < end and not self._ending.is_set():  # noqa: ASYNC110 - no event
            await asyncio.sleep(TICK)
        logger.error("%s exited; its stacks were:\n%s", child, child.stacks)

    def _on_failure(self, error: WorkerFailed) -> None:
        if not any(slot.serving for slot in self._slots):
            self._fail(error)

    def _fail(self, error: WorkerFailed) -> None:
        if not self._ending.is_set():
            logger.error("%s; the service stops", error)
            self._failure = error
            self._end(signal.SIGINT)

    def _on_message(self, worker: WorkerProcess, message: ChannelMessage) -> None:
        self._hub.resume(worker)
        if message.kind is MessageKind.HUB:
            self._hub.receive(worker, message.content)
        elif message.kind is MessageKind.METRICS:
            self._metrics.receive(worker, message.content)
        elif message.kind is MessageKind.TOTAL_REQUEST:
            self._begin(self._send_total(worker, message.content))
        elif message.kind is MessageKind.QUERY_ALL:
            self._begin(self._query_all(worker, message.content))
        elif message.kind is MessageKind.QUERY_RESULT:
            self._queries.receive(message.content)
        elif message.kind is MessageKind.OVERRIDE_CHANGE:
            overrides = self._overrides.change(message.content)
            for each in self._workers():
                each.send_overrides(overrides)

    async def _query_all(self, worker: WorkerProcess, query: bytes) -> None:
        query_id, query = query[: QUERY_ID.size], query[QUERY_ID.size :]
        worker.send_query_results(query_id + await self._queries.run_in_all(query))

    async def _send_total(self, worker: WorkerProcess, query_id: bytes) -> None:
        worker.send_total(query_id + await self._metrics.total())

    async def _watch_for_hangs(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            await asyncio.sleep(TICK)
            now = loop.time()
            for child in (*self._launcher.starting, *self._workers()):
                if now - before > TICK + MAX_TICK_DELAY:
                    child.pause_watch(now - before)
                elif not child.aborted and (reason := hang_reason(child, self._table, now)):
                    logger.error("%s %s", child, reason)
                    self._begin(child.abort())

    async def _watch_memory(self) -> None:
        memory = self._table.memory
        if memory.limit is None:
            return
        limit = memory.limit.of(available_memory())
        while True:
            await asyncio.sleep(memory.check_interval)
            for slot in self._slots:
                for worker in list(slot.workers):
                    if self._is_replaceable(worker) and (used := memory_in_use(worker.pid, limit)) > limit:
                        logger.warning(
                            "%s uses %dMiB, more than server.memory.limit of %dMiB; replacing it",
                            worker,
                            used >> 20,
                            limit >> 20,
                        )
                        await self._replace_worker(slot)

    def _serving_workers(self) -> int:
        return len([slot for slot in self._slots if slot.serving])

    def _is_replaceable(self, worker: WorkerProcess) -> bool:
        age = asyncio.get_running_loop().time() - worker.started
        return worker.serves and age > MIN_MEMORY_INTERVALS * self._table.memory.check_interval

    async def _reload_on_sighup(self) -> None:
        while True:
            await self._reload.wait()
            self._reload.clear()
            logger.info("replacing every worker")
            self._manager.reloading()
            await self._replace_all()
            self._manager.ready(f"serving by {self._serving_workers()} workers")

    async def _replace_all(self) -> None:
        """Start a generation and replace the workers one by one; stop at the first that fails to start."""
        try:
            await self._launcher.start_generation()
        except WorkerFailed as error:
            self._log_failed_start(error)
            return
        first, *others = self._slots
        if not await self._replace_worker(first):
            self._launcher.roll_back_generation()
            return
        self._launcher.commit_generation()
        self._launcher.log_side_effects()
        for slot in others:
            if not await self._replace_worker(slot):
                return
        logger.info("replaced every worker")

    async def _replace_worker(self, slot: WorkerSlot) -> bool:
        try:
            await slot.replace()
        except WorkerFailed as error:
            self._log_failed_start(error)
            return False
        return True

    def _log_failed_start(self, error: WorkerFailed) -> None:
        if not self._ending.is_set():
            logger.error("%s; the old worker keeps serving", error)

    def _begin(self, coroutine: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            logger.error("the supervisor failed in %s", task.get_coro(), exc_info=error)
