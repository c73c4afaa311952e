"""One server: the wire to it while there is one, the calls that wait for the next, and what opens that.

A large command or reply holds up what comes after it on its wire, so that wire is set aside until it is through, and
callers have another; one that is through is kept for the next time. A server hangs when it owes a reply for too long
and no byte moves.

The breaker is what the last attempt to connect says. While it is closed and the wire has just been lost, calls wait for
the next wire; after an attempt that failed they are refused at once, until one succeeds. A server that hangs has no
wire any more either.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Iterable
from itertools import chain
from time import monotonic
from typing import Any

from scalekit_redis.connector import Connector
from scalekit_redis.deadline_timer import NEVER, DeadlineTimer
from scalekit_redis.errors import Kind, RedisUnavailable
from scalekit_redis.metrics import RedisMetrics
from scalekit_redis.pending import PendingCommand
from scalekit_redis.protocol import RedisProtocol
from scalekit_redis.retries import RetryQueue

logger = logging.getLogger("scalekit.redis")

MOST_IN_FLIGHT = 10_000
"""Calls that may wait for replies of one server, or for a connection to it."""
MOST_WAITING, SMALL = 64 * 1024 * 1024, 4096
"""Bytes that may wait for a connection, and those of one command that may wait all the same."""
OVERDUE = 0.5
"""Seconds after its deadline at which a reply that is still owed means that the server hangs, unless bytes move."""
MOST_ASIDE = 3
"""Wires that large commands or replies may hold up at one time, beside the one that callers have."""
STARTING_PAUSE = 0.05
"""Seconds between two attempts to connect to a server that answers that it is not ready yet."""
LONGEST_PAUSE = 2.0
"""Seconds between two attempts to connect, at most."""
HANGS = "the server hangs"
RENEWAL = 1.0
"""Seconds between two connections that are left because the server is not the right one."""

Pushed = Callable[[list[Any]], None]


class Node:
    """One server, *name* in messages.

    *trouble* is why its callers are refused at once, empty while they are not; *failures* is how many connections in a
    row could not be had, or were lost before they answered anything.
    """

    def __init__(self, name: str, connector: Connector, metrics: RedisMetrics, pushed: Pushed) -> None:
        self.name = name
        self.host = connector.host
        self.trouble = ""
        self.refused = False
        self.wire: RedisProtocol | None = None
        self.unites = True  # runs of a script for several keys to one command
        self.retries = RetryQueue()
        self._pushed = pushed
        self.connector = connector
        self.metrics = metrics
        self._waiting: deque[PendingCommand] = deque()
        self._waiting_bytes = 0
        self._aside: list[RedisProtocol] = []
        self._spare: RedisProtocol | None = None
        self._lost = asyncio.Event()
        self._attempted = asyncio.Event()
        self._lookout = DeadlineTimer(self._look)
        self.failures = 0
        self._is_starting = False
        self._renewable = 0.0
        self._separable = 0.0
        self._warned = False
        self._closed = False
        self._task = asyncio.create_task(self._live(), name=f"scalekit: redis {name}")

    @property
    def in_flight(self) -> int:
        """How many calls wait for a reply or for a connection."""
        return len(self._waiting) + sum(wire.in_flight for wire in self._wires())

    async def attempted(self) -> None:
        """Wait until there has been one attempt to connect."""
        await self._attempted.wait()

    def put(self, call: PendingCommand) -> None:
        """Send *call*, or let it wait for a connection; raises RedisUnavailable at once where neither can be."""
        wire = self.wire
        if wire is None:
            self._wait(call)
        elif len(wire.waiting) + wire.united < MOST_IN_FLIGHT and not wire.full:
            wire.put(call)
        else:
            raise self._error("full", f"{wire.in_flight} calls wait already")
        if call.at < self._lookout.due:
            self._lookout.look_at(call.at)

    def put_again(self, call: PendingCommand) -> None:
        """Send *call* again, whose failure is its caller's."""
        try:
            self.put(call)
        except RedisUnavailable as error:
            for each in call.calls:
                each.fail(error)

    def ask(self, packed: bytes, at: float) -> asyncio.Future[Any]:
        """Send a question of our own; return the future of its reply, or raise as :meth:`put` does."""
        call = PendingCommand(asyncio.get_running_loop().create_future(), packed, monotonic(), at)
        self.put(call)
        return call.future

    async def close(self) -> None:
        """End the connection; who still waits is told."""
        self._closed = True
        self.trouble = "the connection was closed"
        self._lookout.stop()
        self._task.cancel()
        await asyncio.wait([self._task])
        for wire in self._wires():
            wire.close(self.trouble)
        self._fail(self._take_waiting(), "closed", self.trouble)

    def renew(self, reason: str) -> None:
        """Leave the server for whoever is at its address now, though not again and again."""
        wire, now = self.wire, monotonic()
        if wire is not None and now >= self._renewable:
            self._renewable = now + RENEWAL
            for each in (wire, self._spare) if self._spare else (wire,):
                asyncio.get_running_loop().call_soon(each.close, reason)  # its replies are being read

    def on_lost(self, wire: RedisProtocol, reason: str) -> None:
        """Send again what may be sent twice or never was; fail the rest."""
        if wire is self._spare:
            self._spare = None
            return
        if wire in self._aside:
            self._aside.remove(wire)
            self._take_over(wire, reason)
            return
        self.wire = None
        if wire.answered:
            self.failures = 0
        else:  # a server that hangs up at once is not tried without a pause
            self._break(self.trouble or reason)
        self._take_over(wire, reason)
        if self.trouble:
            self._fail(self._take_waiting(), "gone", reason)
        self._lost.set()

    def on_busy(self, wire: RedisProtocol) -> None:
        """Give callers another wire until *wire* is through with what is large."""
        if wire is self.wire and len(self._aside) < MOST_ASIDE and monotonic() >= self._separable:
            wire.aside = True
            self._aside.append(wire)
            self.wire, self._spare = self._spare, None
            if self.wire is None:
                self._lost.set()

    def on_drained(self, wire: RedisProtocol) -> None:
        """Keep *wire* for the next time, if there is none yet."""
        if self._spare is None:
            self._aside.remove(wire)
            wire.aside = False
            self._spare = wire
        else:
            asyncio.get_running_loop().call_soon(wire.close, "it is no longer needed")  # its replies are being read

    def _take_over(self, wire: RedisProtocol, reason: str) -> None:
        """Let what *wire* had wait for another, unless it may have been carried out."""
        written, unwritten = wire.take_back()
        self._fail([call for call in written if not call.repeatable], "lost", reason)
        candidates = (*(each for each in written if each.repeatable), *unwritten)
        again = [call for call in candidates if not call.future.done()]
        if self.wire is None:
            self._waiting.extend(again)
        else:
            for call in again:
                self.wire.put(call)

    def _wires(self) -> list[RedisProtocol]:
        return [wire for wire in (*self._aside, self._spare, self.wire) if wire is not None]

    def on_push(self, push: list[Any]) -> None:
        """Pass on what the server said unasked."""
        self._pushed(push)

    def _wait(self, call: PendingCommand) -> None:
        if self.trouble:
            raise self._error("closed" if self._closed else "gone", self.trouble)
        if len(self._waiting) >= MOST_IN_FLIGHT:
            raise self._error("full", f"{len(self._waiting)} calls wait already")
        if self._waiting_bytes > MOST_WAITING and len(call.packed) > SMALL:
            raise self._error("full", f"{self._waiting_bytes} bytes wait already")
        for each in call.calls:
            self._waiting_bytes += len(each.packed)
            self._waiting.append(each)

    def _look(self, now: float) -> float:
        """Fail the calls whose time is over, and each wire that is long overdue; return when to look next."""
        due, late = NEVER, []
        for wire in self._wires():
            if wire.waiting and wire.waiting[0].at + OVERDUE <= now:
                if wire.is_still(now, OVERDUE):
                    if wire is self.wire:
                        self._break(HANGS)
                    wire.close(HANGS)
                else:
                    due = min(due, wire.moved + OVERDUE)
            elif wire.waiting:
                due = min(due, wire.waiting[0].at + OVERDUE)
        for call in chain(*(wire.calls() for wire in self._wires()), self._waiting):
            if call.at <= now:
                late.append(call)
            elif call.at < due:
                due = call.at
        self._fail(late, "late", "no reply in time")
        return due

    async def _live(self) -> None:
        """Open one wire after the other."""
        while True:
            try:
                self._adopt(await self._open())
            except Exception as error:
                self._note_trouble(error)
            self._attempted.set()
            if self.wire is not None:
                await self._lost.wait()
            self._lost.clear()
            if self._is_starting:
                await asyncio.sleep(STARTING_PAUSE)
            elif self.trouble:
                self.failures += 1
                await asyncio.sleep(min(0.05 * self.failures, LONGEST_PAUSE) * random.uniform(0.5, 1.0))

    async def _open(self) -> RedisProtocol:
        return RedisProtocol(await self.connector.open(), self, self.metrics)

    def _adopt(self, wire: RedisProtocol) -> None:
        """Begin to use *wire*."""
        self.metrics.connections.inc()
        self.wire, self.trouble, self.refused, self._is_starting = wire, "", False, False
        if self._warned:
            self._warned = False
            logger.warning("%s can be reached again", self.name)
        self._put_waiting(wire)

    def _put_waiting(self, wire: RedisProtocol) -> None:
        for call in self._take_waiting():
            if not call.future.done():
                wire.put(call)

    def _note_trouble(self, error: Exception) -> None:
        if self._aside:  # better one that is held up than none
            self._separable = monotonic() + RENEWAL
            self.wire = self._aside.pop()
            self.wire.aside = False
            self._put_waiting(self.wire)
            return
        self._is_starting = self.connector.is_passing(error)
        if self._is_starting:  # each waiting command has a deadline
            self.trouble = ""
            return
        self._break(self.connector.explain(error))
        self.refused = self.connector.is_refusal(error)
        self.metrics.failed("connect")
        self._fail(self._take_waiting(), "gone", self.trouble)

    def _break(self, trouble: str) -> None:
        """Refuse callers from now on; tell of it, once until it is over."""
        self.trouble = trouble
        if not self._warned and not self._closed:
            self._warned = True
            logger.warning("no connection to %s: %s", self.name, trouble)

    def _take_waiting(self) -> list[PendingCommand]:
        waiting, self._waiting = list(self._waiting), deque()
        self._waiting_bytes = 0
        return waiting

    def _fail(self, calls: Iterable[PendingCommand], kind: Kind, reason: str) -> None:
        unanswered = [call for call in calls if not call.future.done()]
        if unanswered:
            self.metrics.failed(kind, len(unanswered))
        for call in unanswered:
            call.fail(RedisUnavailable(f"{self.name}: {reason}", kind))

    def _error(self, kind: Kind, reason: str) -> RedisUnavailable:
        self.metrics.failed(kind)
        return RedisUnavailable(f"{self.name}: {reason}", kind)
