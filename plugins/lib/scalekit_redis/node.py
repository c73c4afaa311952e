"""One server: its current connection, the commands queued for the next, and the task that connects.

A large command or reply delays what follows on its connection (head-of-line blocking), so that connection is detached
until it has drained, and callers use another one; a drained one becomes the spare. A server hangs when a reply is
overdue and no bytes move.

The circuit breaker is the outcome of the last attempt to connect. While it is closed and the connection was just lost,
commands queue for the next one; after a failed attempt they fail at once, until an attempt succeeds. A hanging server
opens it too.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import chain
from time import monotonic

from scalekit_redis.command_queue import MAX_IN_FLIGHT, CommandQueue
from scalekit_redis.commands import Reply
from scalekit_redis.connector import ServerConnector
from scalekit_redis.deadline_timer import NEVER, DeadlineTimer
from scalekit_redis.errors import FailureKind, RedisUnavailable
from scalekit_redis.metrics import RedisMetrics
from scalekit_redis.pending import PendingCommand
from scalekit_redis.protocol import RedisProtocol
from scalekit_redis.retries import RetryQueue

logger = logging.getLogger("scalekit.redis")

HANG_TIMEOUT = 0.5
"""Seconds after a deadline at which an overdue reply means that the server hangs, unless bytes move."""
MAX_DETACHED = 3
"""Maximum number of detached connections, besides the one that callers use."""
LOADING_INTERVAL = 0.05
"""Seconds between two attempts to connect to a server that is still loading."""
MAX_RECONNECT_INTERVAL = 2.0
"""Maximum pause in seconds between two attempts to connect."""
HANGING = "the server hangs"
MIN_RECONNECT_INTERVAL = 1.0
"""Minimum seconds between two reconnects that leave a server in the wrong role."""

OnPush = Callable[[list[Reply]], None]


class Node:
    """One server, *name* in messages.

    *unavailable_reason* says why commands fail at once, and is empty while they do not; *failures* counts connections
    in a row that could not be opened, or were lost before the first reply.
    """

    def __init__(self, name: str, connector: ServerConnector, metrics: RedisMetrics, on_push: OnPush) -> None:
        self.name = name
        self.host = connector.host
        self.unavailable_reason = ""
        self.rejected = False
        self.connection: RedisProtocol | None = None
        self.combines_scripts = True  # runs of a script for several keys become one command
        self.retries = RetryQueue()
        self._on_push = on_push
        self.connector = connector
        self.metrics = metrics
        self._queue = CommandQueue()
        self._detached: list[RedisProtocol] = []
        self._spare: RedisProtocol | None = None
        self._lost = asyncio.Event()
        self._switched = asyncio.Event()
        self._attempted = asyncio.Event()
        self._timer = DeadlineTimer(self._expire)
        self.failures = 0
        self._is_starting = False
        self._reconnect_after = 0.0
        self._detach_after = 0.0
        self._warned = False
        self.closed = False
        self._task = asyncio.create_task(self._run(), name=f"scalekit: redis {name}")

    @property
    def in_flight(self) -> int:
        """The number of commands that are in flight or queued."""
        return len(self._queue) + sum(connection.in_flight for connection in self._open_connections())

    async def first_attempt(self) -> None:
        """Wait until the first attempt to connect is over."""
        await self._attempted.wait()

    def send(self, command: PendingCommand) -> None:
        """Send *command*, or queue it for a connection; raises RedisUnavailable when neither is possible."""
        connection = self.connection
        if connection is None:
            self._enqueue(command)
        elif len(connection.waiting) + connection.combined < MAX_IN_FLIGHT and not connection.write_paused:
            connection.send(command)
        else:
            raise self._error("full", f"{connection.in_flight} commands in flight already")
        if command.deadline < self._timer.due:
            self._timer.schedule(command.deadline)

    def resend(self, command: PendingCommand) -> None:
        """Send *command* again; when that is impossible, fail it."""
        try:
            self.send(command)
        except RedisUnavailable as error:
            for each in command.commands:
                each.fail(error)

    def request(self, packed: bytes, deadline: float) -> asyncio.Future[Reply]:
        """Send a command of the library itself; return the future of its reply, or raise as :meth:`send` does."""
        command = PendingCommand(asyncio.get_running_loop().create_future(), packed, monotonic(), deadline)
        self.send(command)
        return command.future

    async def close(self) -> None:
        """Close the connections and fail all pending commands."""
        self.closed = True
        self.unavailable_reason = "the connection was closed"
        self._timer.stop()
        self._task.cancel()
        await asyncio.wait([self._task])
        for connection in self._open_connections():
            connection.close(self.unavailable_reason)
        self._fail(self._queue.take(), "closed", self.unavailable_reason)

    def reconnect(self, reason: str) -> None:
        """Reconnect, to reach the server that has the address now, at most once a second."""
        connection, now = self.connection, monotonic()
        if connection is not None and now >= self._reconnect_after:
            self._reconnect_after = now + MIN_RECONNECT_INTERVAL
            for each in (connection, self._spare) if self._spare else (connection,):
                asyncio.get_running_loop().call_soon(each.close, reason)  # its replies are being parsed

    def switch_server(self, name: str, reason: str) -> None:
        """Close every connection and connect at once to the server *name*, which has replaced the present one."""
        self.name = name
        self._switched.set()
        for connection in reversed(self._open_connections()):  # the last one takes no commands of the others then
            connection.close(reason)

    def on_lost(self, connection: RedisProtocol, reason: str) -> None:
        """Send again the commands that only read or were not written; fail the others."""
        if connection is self._spare:
            self._spare = None
            return
        if connection in self._detached:
            self._detached.remove(connection)
            self._requeue(connection, reason)
            return
        self.connection = None
        if connection.replied_once or self._switched.is_set():
            self.failures = 0
        else:  # a server that closes at once is not tried again without a pause
            self._open_breaker(self.unavailable_reason or reason)
        self._requeue(connection, reason)
        if self.unavailable_reason:
            self._fail(self._queue.take(), "unavailable", reason)
        self._lost.set()

    def on_blocked(self, connection: RedisProtocol) -> None:
        """Detach *connection* until it has drained; callers use another one."""
        if connection is self.connection and len(self._detached) < MAX_DETACHED and monotonic() >= self._detach_after:
            connection.detached = True
            self._detached.append(connection)
            self.connection, self._spare = self._spare, None
            if self.connection is None:
                self._lost.set()

    def on_unblocked(self, connection: RedisProtocol) -> None:
        """Make *connection* the spare one, or close it when there is one."""
        if self._spare is None:
            self._detached.remove(connection)
            connection.detached = False
            self._spare = connection
        else:
            # Later: its replies are being parsed.
            asyncio.get_running_loop().call_soon(connection.close, "it is not needed any more")

    def _requeue(self, connection: RedisProtocol, reason: str) -> None:
        """Queue the commands of *connection* for another, except those that may have been executed."""
        written, unwritten = connection.take_pending()
        self._fail([command for command in written if not command.retryable], "disconnected", reason)
        candidates = (*(each for each in written if each.retryable), *unwritten)
        unsent = [command for command in candidates if not command.future.done()]
        if self.connection is None:
            self._queue.extend(unsent)
            return
        for command in unsent:
            self.connection.send(command)

    def _open_connections(self) -> list[RedisProtocol]:
        return [connection for connection in (*self._detached, self._spare, self.connection) if connection is not None]

    def on_push(self, push: list[Reply]) -> None:
        """Pass a push message on."""
        self._on_push(push)

    def _enqueue(self, command: PendingCommand) -> None:
        if self.unavailable_reason:
            raise self._error("closed" if self.closed else "unavailable", self.unavailable_reason)
        if rejection := self._queue.rejection(command):
            raise self._error("full", rejection)
        self._queue.extend(command.commands)

    def _expire(self, now: float) -> float:
        """Fail expired commands and close connections that hang; return when to check next."""
        due, expired = NEVER, []
        for connection in self._open_connections():
            if connection.waiting and connection.waiting[0].deadline + HANG_TIMEOUT <= now:
                if connection.is_idle(now, HANG_TIMEOUT):
                    if connection is self.connection:
                        self._open_breaker(HANGING)
                    connection.close(HANGING)
                else:
                    due = min(due, connection.last_activity + HANG_TIMEOUT)
            elif connection.waiting:
                due = min(due, connection.waiting[0].deadline + HANG_TIMEOUT)
        for command in chain(*(connection.commands() for connection in self._open_connections()), self._queue):
            if command.deadline <= now:
                expired.append(command)
            elif command.deadline < due:
                due = command.deadline
        self._fail(expired, "timeout", "no reply within the timeout")
        return due

    async def _run(self) -> None:
        """Reconnect until cancelled."""
        while True:
            try:
                self._use(RedisProtocol(await self.connector.open(), self, self.metrics))
            except Exception as error:
                self._connect_failed(error)
            self._attempted.set()
            if self.connection is not None:
                await self._lost.wait()
            self._lost.clear()
            if self._is_starting:
                await asyncio.sleep(LOADING_INTERVAL)
            elif self.unavailable_reason:
                self.failures += 1
                await self._pause(min(0.05 * self.failures, MAX_RECONNECT_INTERVAL) * random.uniform(0.5, 1.0))

    async def _pause(self, seconds: float) -> None:
        """Wait *seconds*, or until another server replaces the one that is unavailable."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._switched.wait()
        self._switched.clear()

    def _use(self, connection: RedisProtocol) -> None:
        """Use *connection* from now on."""
        self.metrics.connections.inc()
        self._switched.clear()
        self.connection, self.unavailable_reason, self.rejected, self._is_starting = connection, "", False, False
        if self._warned:
            self._warned = False
            logger.warning("%s is reachable again", self.name)
        self._send_queued(connection)

    def _send_queued(self, connection: RedisProtocol) -> None:
        for command in self._queue.take():
            if not command.future.done():
                connection.send(command)

    def _connect_failed(self, error: Exception) -> None:
        if self._detached:  # a blocked connection is better than none
            self._detach_after = monotonic() + MIN_RECONNECT_INTERVAL
            self.connection = self._detached.pop()
            self.connection.detached = False
            self._send_queued(self.connection)
            return
        self._is_starting = self.connector.is_transient(error)
        if self._is_starting:  # each queued command has a deadline of its own
            self.unavailable_reason = ""
            return
        self._open_breaker(self.connector.describe(error))
        self.rejected = self.connector.is_permanent(error)
        self.metrics.count_errors("connect")
        self._fail(self._queue.take(), "unavailable", self.unavailable_reason)

    def _open_breaker(self, unavailable_reason: str) -> None:
        """Open the circuit breaker; log it once until it closes."""
        self.unavailable_reason = unavailable_reason
        if not self._warned and not self.closed:
            self._warned = True
            logger.warning("no connection to %s: %s", self.name, unavailable_reason)

    def _fail(self, commands: Iterable[PendingCommand], kind: FailureKind, reason: str) -> None:
        pending = [command for command in commands if not command.future.done()]
        if pending:
            self.metrics.count_errors(kind, len(pending))
        for command in pending:
            command.fail(RedisUnavailable(f"{self.name}: {reason}", kind))

    def _error(self, kind: FailureKind, reason: str) -> RedisUnavailable:
        self.metrics.count_errors(kind)
        return RedisUnavailable(f"{self.name}: {reason}", kind)
