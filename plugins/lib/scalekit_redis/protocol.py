"""The Redis protocol on one connection that many callers share (pipelining): replies come in the order of commands.

Commands of one turn of the event loop are written with one system call, and one read brings the replies of many. A
reply belongs to the oldest command that has none, even if its caller was cancelled: so no caller ever receives the
reply to the command of another. Push messages have a type of their own.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from itertools import chain
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from hiredis import ProtocolError, PushNotification, Reader

from scalekit_redis.commands import Reply
from scalekit_redis.errors import ReplyError
from scalekit_redis.metrics import RedisMetrics
from scalekit_redis.pending import PendingCommand

if TYPE_CHECKING:
    from scalekit_redis.standalone_scripts import ScriptRun

MAX_UNSENT_BYTES = 16 * 1024 * 1024
"""Bytes in the write buffer above which callers use another connection."""
LARGE_REPLY = 1024 * 1024
"""Bytes of one incomplete reply above which callers use another connection."""


class ConnectionOwner(Protocol):
    """The owner of a connection."""

    def on_lost(self, connection: RedisProtocol, reason: str) -> None:
        """Handle the end of *connection*."""
        ...

    def on_push(self, push: list[Reply]) -> None:
        """Handle a push message."""
        ...

    def on_blocked(self, connection: RedisProtocol) -> None:
        """Handle a large command or reply on *connection*, which delays the commands after it."""
        ...

    def on_unblocked(self, connection: RedisProtocol) -> None:
        """Handle that *connection*, which was detached, has no command in flight any more."""
        ...


class RedisProtocol(asyncio.Protocol):
    """An open connection.

    ``runs`` are the unwritten runs of scripts by their group, which others can join. ``combined`` counts the runs that
    joined another.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        owner: ConnectionOwner,
        metrics: RedisMetrics,
    ) -> None:
        self.waiting: deque[PendingCommand] = deque()
        self.runs: dict[str, ScriptRun] = {}
        self.combined = 0
        self.write_paused = False
        self.replied_once = False
        self.detached = False
        self.last_activity = monotonic()
        self._partial_bytes = 0
        self._unsent = 0
        self._lost = False
        self._unwritten: list[PendingCommand] = []
        self._transport = transport
        self._owner = owner
        self._metrics = metrics
        self._observe = metrics.durations.observe
        self._loop = asyncio.get_running_loop()
        self._reader = Reader(replyError=ReplyError, notEnoughData=Ellipsis)
        transport.set_write_buffer_limits(high=MAX_UNSENT_BYTES)
        transport.set_protocol(self)

    def send(self, command: PendingCommand) -> None:
        """Send *command*, together with the others of this turn of the event loop."""
        self.waiting.append(command)
        if not self._unwritten:
            self._loop.call_soon(self._flush)
        self._unwritten.append(command)

    def close(self, reason: str) -> None:
        """Abort the connection and notify its owner."""
        if not self._lost:
            self._lost = True
            self._transport.abort()
            self._owner.on_lost(self, reason)

    def take_pending(self) -> tuple[list[PendingCommand], list[PendingCommand]]:
        """Return the commands that were written and have no reply, and those that were not written."""
        written = len(self.waiting) - len(self._unwritten)
        entries = [entry.commands for entry in self.waiting]
        self.waiting.clear()
        self.combined = 0
        return list(chain(*entries[:written])), list(chain(*entries[written:]))

    @property
    def in_flight(self) -> int:
        """The number of commands that wait for a reply."""
        return len(self.waiting) + self.combined

    def commands(self) -> Iterator[PendingCommand]:
        """Yield the commands that wait for a reply, combined ones one by one."""
        return chain.from_iterable(entry.commands for entry in self.waiting)

    def _flush(self) -> None:
        if self._lost:
            return
        if self._transport.is_closing():  # the loop reports it only in its next turn
            self.close("the connection broke")
            return
        commands, self._unwritten = self._unwritten, []
        if self.runs:
            for run in self.runs.values():
                if run.runs is not None:
                    run.pack_runs()
            self.runs.clear()
        self._transport.write(b"".join([command.packed for command in commands]))

    def data_received(self, data: bytes) -> None:
        """Pass each reply to its command."""
        if self._lost:
            return
        reader, waiting, now, count, errors = self._reader, self.waiting, monotonic(), 0, 0
        try:
            reader.feed(data)
            while (reply := reader.gets()) is not Ellipsis:
                if type(reply) is PushNotification:
                    self._owner.on_push(reply)
                    continue
                count += 1
                if type(reply) is ReplyError:
                    errors += 1
                command = waiting[0]
                if command.receive(reply):
                    waiting.popleft()
                    self._observe(now - command.started)
        except (
            ProtocolError,
            TypeError,
            IndexError,
        ):  # no valid reply, one that Python cannot represent, or one too many
            self.close("the server sent an invalid reply")
        self.last_activity = now
        if count:
            self.replied_once = True
            self._partial_bytes = 0
            self._metrics.commands.inc(count)
            if self.detached and not waiting and not self._lost:
                self._owner.on_unblocked(self)
        else:
            self._count_partial(len(data))
        if errors:
            self._metrics.count_errors("reply", errors)

    def is_idle(self, now: float, seconds: float) -> bool:
        """Return whether no byte has moved in either direction for *seconds* before *now*."""
        unsent = self._transport.get_write_buffer_size()
        if unsent != self._unsent:
            self._unsent, self.last_activity = unsent, now
        return self.last_activity + seconds <= now

    def _count_partial(self, size: int) -> None:
        self._partial_bytes += size
        if self._partial_bytes > LARGE_REPLY and not self.detached:
            self._owner.on_blocked(self)

    def pause_writing(self) -> None:
        """Stop accepting commands until the write buffer has drained."""
        self.write_paused = True
        if not self.detached:
            self._owner.on_blocked(self)

    def resume_writing(self) -> None:
        """Accept commands again."""
        self.write_paused = False

    def eof_received(self) -> bool:
        """Close when the server does."""
        self.close("the server closed the connection")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Notify the owner."""
        self.close("the connection broke" if exc else "the server closed the connection")
