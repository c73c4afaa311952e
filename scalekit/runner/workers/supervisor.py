"""Start the workers, keep them, replace them, end them."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Callable, Coroutine, Iterator, Sequence

from scalekit.config.tables import Server
from scalekit.runner.memory.usage import available, in_use
from scalekit.runner.workers.channel import ChannelMessage, MessageKind
from scalekit.runner.workers.child_process import ChildProcess, WorkerFailed
from scalekit.runner.workers.launcher import Launcher
from scalekit.runner.workers.log_forwarder import WorkerLogHandler
from scalekit.runner.workers.metrics_aggregator import MetricsAggregator
from scalekit.runner.workers.worker_process import WorkerProcess, spawn
from scalekit.runner.workers.worker_queries import NUMBER, QueryCoordinator
from scalekit.runner.workers.worker_slot import WorkerSlot

logger = logging.getLogger("scalekit")

TICK = 0.5
"""Seconds between two looks for workers that hang."""
OVERSLEPT = 1.0
"""A tick that is later than this means that the supervisor itself stood still, and the workers were not heard."""
LATELY = 1.8
"""Seconds since a worker was heard in which it may be trusted with a log line: less than two heartbeats."""
STOP_FAILED = 1
"""Exit status of a worker in which the application or a plugin raised while it stopped."""
FORCED_GRACE = 7.0
"""Seconds after a second signal until workers that still run are killed; they end by themselves before, if they can."""
UNTOLD = 20.0
"""Seconds that stacks wait for a worker that can log them."""
SETTLED = 3
"""Looks at its memory that a worker survives before the limit counts: a limit that is too low must not spin."""


def supervise(
    table: Server, command: Sequence[str], listeners: Sequence[socket.socket], on_serving: Callable[[], None]
) -> int:
    """Serve *listeners* with as many workers as *table* says until a signal ends them; return the exit status.

    *command* is what a worker is started by, after the interpreter and before its place; *on_serving* is called when
    all serve.
    """
    supervisor = Supervisor(table, command, listeners)
    alone = logging.getLogger().handlers[:]
    logger.addHandler(WorkerLogHandler(supervisor.any_worker, alone))
    logger.propagate = False
    return asyncio.run(supervisor.run(on_serving))


class Supervisor:
    """The workers of one service."""

    def __init__(self, table: Server, command: Sequence[str], listeners: Sequence[socket.socket]) -> None:
        self._table = table
        self._listeners = listeners
        descriptors = [each.fileno() for each in listeners]
        self._launcher = Launcher(command, descriptors, table.preload, self._on_child_end)
        self._numbers = MetricsAggregator(self._workers)
        self._inquirer = QueryCoordinator(self._workers)
        self._slots = [
            WorkerSlot(str(number), self._spawn, self._on_end, self._on_failure)
            for number in range(1, (table.workers or 1) + 1)
        ]
        self._ending = asyncio.Event()
        self._reload = asyncio.Event()
        self._failure: WorkerFailed | None = None
        self._stop_failed = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, on_serving: Callable[[], None]) -> int:
        """Serve until a signal, or until no worker can be started; return the exit status."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end, number)
        loop.add_signal_handler(signal.SIGHUP, self._reload.set)
        self._begin(self._watch_for_hangs())
        self._begin(self._start(on_serving))
        await self._ending.wait()
        for slot in self._slots:
            slot.stand_down()
        await asyncio.gather(*(slot.wait_until_empty() for slot in self._slots))
        await self._launcher.wait_until_closed()
        for task in self._tasks:
            task.cancel()
        return self._failure.exit_status if self._failure else int(self._stop_failed)

    async def _start(self, on_serving: Callable[[], None]) -> None:
        """Start one worker alone, so that what is wrong for all is said once, then the others."""
        first, *others = self._slots
        try:
            await first.fill()
            self._launcher.tell_effects()
            await asyncio.gather(*(slot.fill() for slot in others))
        except WorkerFailed as error:
            self._give_up(error)
            return
        on_serving()
        self._begin(self._watch_memory())
        self._begin(self._reload_when_asked())

    async def _spawn(self, slot: str, generation: int) -> WorkerProcess:
        return await spawn((slot, generation), self._launcher.launch, self._on_message)

    def any_worker(self) -> WorkerProcess | None:
        """Return the worker that was heard last, and lately, of those that serve."""
        lately = asyncio.get_running_loop().time() - LATELY
        serving = [worker for worker in self._workers() if worker.serves and worker.heard > lately]
        return max(serving, key=lambda worker: worker.heard, default=None)

    def _workers(self) -> Iterator[WorkerProcess]:
        for slot in self._slots:
            yield from slot.workers

    def _end(self, number: signal.Signals) -> None:
        """Hand a signal down and start no more workers; the second time no worker outlives its own last moment."""
        if self._ending.is_set():
            self._begin(self._kill())
        self._ending.set()
        for slot in self._slots:
            slot.stand_down()
        for listener in self._listeners:  # else the kernel goes on taking connections when no worker does
            listener.close()
        self._launcher.close(number)
        for worker in self._workers():
            worker.signal(number)

    async def _kill(self) -> None:
        await asyncio.sleep(FORCED_GRACE)
        self._launcher.kill()
        for worker in self._workers():
            worker.signal(signal.SIGKILL)

    def _on_end(self, worker: WorkerProcess) -> None:
        """Take the worker's numbers over, and its failure to stop, which is the service's when all end."""
        self._numbers.end(worker)
        self._on_child_end(worker)
        if self._ending.is_set() and worker.is_ready and worker.ended.result() == STOP_FAILED:
            self._stop_failed = True

    def _on_child_end(self, child: ChildProcess) -> None:
        if child.stacks:
            self._begin(self._tell_stacks(child))

    async def _tell_stacks(self, child: ChildProcess) -> None:
        """Log where *child* was, in the form that the log has: another worker, or the next one, writes the line."""
        loop = asyncio.get_running_loop()
        end = loop.time() + UNTOLD
        while self.any_worker() is None and loop.time() < end and not self._ending.is_set():  # noqa: ASYNC110
            await asyncio.sleep(TICK)
        logger.error("%s was here when it ended:\n%s", child, child.stacks)

    def _on_failure(self, error: WorkerFailed) -> None:
        if not any(slot.serving for slot in self._slots):
            self._give_up(error)

    def _give_up(self, error: WorkerFailed) -> None:
        if not self._ending.is_set():
            logger.error("%s; no service without it", error)
            self._failure = error
            self._end(signal.SIGINT)

    def _on_message(self, worker: WorkerProcess, message: ChannelMessage) -> None:
        if message.kind is MessageKind.NUMBERS:
            self._numbers.receive(worker, message.content)
        elif message.kind is MessageKind.WANT_TOTAL:
            self._begin(self._answer(worker, message.content))
        elif message.kind is MessageKind.ASK_ALL:
            self._begin(self._ask_all(worker, message.content))
        elif message.kind is MessageKind.ANSWER:
            self._inquirer.receive(message.content)

    async def _ask_all(self, worker: WorkerProcess, question: bytes) -> None:
        number, topic = question[: NUMBER.size], question[NUMBER.size :]
        worker.answer_for_all(number + await self._inquirer.ask(topic))

    async def _answer(self, worker: WorkerProcess, question: bytes) -> None:
        worker.answer(question + await self._numbers.total())

    async def _watch_for_hangs(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            await asyncio.sleep(TICK)
            now = loop.time()
            for child in (*self._launcher.starting, *self._workers()):
                if now - before > TICK + OVERSLEPT:
                    child.pause_watch(now - before)
                elif not child.aborted and (trouble := self._trouble(child, now)):
                    logger.error("%s %s", child, trouble)
                    self._begin(child.abort())

    def _trouble(self, child: ChildProcess, now: float) -> str:
        """Return why *child* is to be ended; one that starts is busy with imports, and need not be heard."""
        table = self._table
        if isinstance(child, WorkerProcess) and child.is_ready:
            silent = now - child.heard > table.hang
            return f"has been silent for {table.hang}: its event loop is blocked (server.hang)" if silent else ""
        if now - child.starting_since > table.worker_start_timeout:
            remedy = "if it needs longer, raise server.worker_start_timeout"
            return f"is not ready after {table.worker_start_timeout}, and is ended; {remedy}"
        return ""

    async def _watch_memory(self) -> None:
        memory = self._table.memory
        if memory.limit is None:
            return
        limit = memory.limit.of(available())
        while True:
            await asyncio.sleep(memory.interval)
            for slot in self._slots:
                for worker in list(slot.workers):
                    if self._is_settled(worker) and (used := in_use(worker.pid, limit)) > limit:
                        logger.warning("%s uses %dMiB, server.memory.limit is %dMiB", worker, used >> 20, limit >> 20)
                        await self._renew(slot)

    def _is_settled(self, worker: WorkerProcess) -> bool:
        age = asyncio.get_running_loop().time() - worker.started
        return worker.serves and age > SETTLED * self._table.memory.interval

    async def _reload_when_asked(self) -> None:
        while True:
            await self._reload.wait()
            self._reload.clear()
            logger.info("replacing every worker")
            await self._replace_all()

    async def _replace_all(self) -> None:
        """Begin a generation, and replace one worker after the other until one does not start."""
        try:
            await self._launcher.renew()
        except WorkerFailed as error:
            self._tell_failed_start(error)
            return
        first, *others = self._slots
        if not await self._renew(first):
            self._launcher.revert()
            return
        self._launcher.keep()
        self._launcher.tell_effects()
        for slot in others:
            if not await self._renew(slot):
                return
        logger.info("every worker is new")

    async def _renew(self, slot: WorkerSlot) -> bool:
        try:
            await slot.renew()
        except WorkerFailed as error:
            self._tell_failed_start(error)
            return False
        return True

    def _tell_failed_start(self, error: WorkerFailed) -> None:
        if not self._ending.is_set():
            logger.error("%s; the old worker stays", error)

    def _begin(self, coroutine: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            logger.error("the supervisor failed in %s", task.get_coro(), exc_info=error)
