"""One connection that many callers share: commands go out in the order in which their replies come back.

What is put during one turn of the event loop is written at its end with one call to the kernel, and one read brings the
replies of many. A reply belongs to the oldest call that waits for one, whether anybody still waits for the call or not:
that is why no caller ever gets what is another's. What the server says unasked (a push) is told apart by its type.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from itertools import chain
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from hiredis import ProtocolError, PushNotification, Reader

from scalekit_redis.errors import ReplyError
from scalekit_redis.metrics import RedisMetrics
from scalekit_redis.pending import PendingCommand

if TYPE_CHECKING:
    from scalekit_redis.standalone_scripts import ScriptRun

MOST_UNSENT = 16 * 1024 * 1024
"""Bytes that may wait for the kernel to take them before nothing more is taken from callers."""
LARGE = 1024 * 1024
"""Bytes of one reply that may come before callers are given another connection."""


class ConnectionOwner(Protocol):
    """Who keeps a wire."""

    def on_lost(self, wire: RedisProtocol, reason: str) -> None:
        """Note that *wire* has ended."""
        ...

    def on_push(self, push: list[Any]) -> None:
        """Note what the server said unasked."""
        ...

    def on_busy(self, wire: RedisProtocol) -> None:
        """Note that a large command or reply is on its way over *wire*, which holds up what comes after it."""
        ...

    def on_drained(self, wire: RedisProtocol) -> None:
        """Note that *wire*, which was set aside, owes nothing more."""
        ...


class RedisProtocol(asyncio.Protocol):
    """A connection that is open.

    ``runs`` are runs of scripts that are not written yet, by their group: others can go together with them. ``united``
    are all those beyond the first of what goes together.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        owner: ConnectionOwner,
        metrics: RedisMetrics,
    ) -> None:
        self.waiting: deque[PendingCommand] = deque()
        self.runs: dict[str, ScriptRun] = {}
        self.united = 0
        self.full = False
        self.answered = False
        self.aside = False
        self.moved = monotonic()
        self._partial = 0
        self._unsent = 0
        self._lost = False
        self._unwritten: list[PendingCommand] = []
        self._transport = transport
        self._owner = owner
        self._metrics = metrics
        self._observe = metrics.seconds.observe
        self._loop = asyncio.get_running_loop()
        self._reader = Reader(replyError=ReplyError, notEnoughData=Ellipsis)
        transport.set_write_buffer_limits(high=MOST_UNSENT)
        transport.set_protocol(self)

    def put(self, call: PendingCommand) -> None:
        """Send *call*, together with what else is put in this turn of the loop."""
        self.waiting.append(call)
        if not self._unwritten:
            self._loop.call_soon(self._flush)
        self._unwritten.append(call)

    def close(self, reason: str) -> None:
        """End the connection at once; its owner is told."""
        if not self._lost:
            self._lost = True
            self._transport.abort()
            self._owner.on_lost(self, reason)

    def take_back(self) -> tuple[list[PendingCommand], list[PendingCommand]]:
        """Return the calls that were written and not answered, and those that were not written."""
        written = len(self.waiting) - len(self._unwritten)
        entries = [entry.calls for entry in self.waiting]
        self.waiting.clear()
        self.united = 0
        return list(chain(*entries[:written])), list(chain(*entries[written:]))

    @property
    def in_flight(self) -> int:
        """How many calls wait for a reply."""
        return len(self.waiting) + self.united

    def calls(self) -> Iterator[PendingCommand]:
        """Yield the calls that wait for a reply, each by itself where several go together."""
        return chain.from_iterable(entry.calls for entry in self.waiting)

    def _flush(self) -> None:
        if self._lost:
            return
        if self._transport.is_closing():  # and does not say so before the next turn of the loop
            self.close("the connection broke")
            return
        calls, self._unwritten = self._unwritten, []
        if self.runs:
            for run in self.runs.values():
                if run.runs is not None:
                    run.seal()
            self.runs.clear()
        self._transport.write(b"".join([call.packed for call in calls]))

    def data_received(self, data: bytes) -> None:
        """Hand each reply to the call that it is for."""
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
                call = waiting[0]
                if call.take(reply):
                    waiting.popleft()
                    self._observe(now - call.began)
        except (ProtocolError, TypeError, IndexError):  # no reply, one that Python cannot hold, one too many
            self.close("the server sent what is no reply")
        self.moved = now
        if count:
            self.answered = True
            self._partial = 0
            self._metrics.commands.inc(count)
            if self.aside and not waiting and not self._lost:
                self._owner.on_drained(self)
        else:
            self._note_partial(len(data))
        if errors:
            self._metrics.failed("reply", errors)

    def is_still(self, now: float, seconds: float) -> bool:
        """Return whether no byte has moved in either direction for so many *seconds* before *now*."""
        unsent = self._transport.get_write_buffer_size()
        if unsent != self._unsent:
            self._unsent, self.moved = unsent, now
        return self.moved + seconds <= now

    def _note_partial(self, size: int) -> None:
        self._partial += size
        if self._partial > LARGE and not self.aside:
            self._owner.on_busy(self)

    def pause_writing(self) -> None:
        """Take no more calls until the kernel has taken what was written."""
        self.full = True
        if not self.aside:
            self._owner.on_busy(self)

    def resume_writing(self) -> None:
        """Take calls again."""
        self.full = False

    def eof_received(self) -> bool:
        """End with the server, which will answer nothing more."""
        self.close("the server closed the connection")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the owner."""
        self.close("the connection broke" if exc else "the server closed the connection")
