"""The master that a group of Sentinels names, now and after every failover.

One connection to each Sentinel receives ``+switch-master`` and is queried every second, and at once before a
connection to the master is opened. A Sentinel may learn of a failover late; the one with the highest configuration
epoch decides (Redis documentation, "High availability with Redis Sentinel", consistency properties).
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from time import monotonic
from typing import NamedTuple

from scalekit_redis.commands import Reply
from scalekit_redis.errors import RedisUnavailable, ReplyError
from scalekit_redis.metrics import RedisMetrics
from scalekit_redis.node import Node, OnPush
from scalekit_redis.pending import PendingPipeline, pack
from scalekit_redis.url import HostPort, RedisUrl, format_host

logger = logging.getLogger("scalekit.redis")

QUERY_INTERVAL = 1.0
"""Seconds between two queries of a Sentinel, if no failover is reported."""
QUERY_TIMEOUT = 0.5
"""Timeout in seconds of a query."""
MAX_REPORT_AGE = 10.0
"""Seconds after which the last report of a Sentinel that does not reply any more is ignored."""
CHANNEL = "+switch-master"
"""The channel on which a Sentinel publishes that it has another master."""


class SentinelReport(NamedTuple):
    """What a Sentinel replies: the *master*, and the configuration *epoch*, which rises with every failover."""

    epoch: int
    master: HostPort
    received_at: float


class MasterUnknownError(ConnectionError):
    """No Sentinel names the master; *permanent* when one of them needs another configuration."""

    def __init__(self, message: str, permanent: bool) -> None:
        super().__init__(message)
        self.permanent = permanent


class Sentinel:
    """One Sentinel, queried over *node* for the master with the name *name* whenever ``wake`` is set.

    ``error`` says why the last query failed, and is empty after a reply that names the master.
    """

    def __init__(self, connect: Callable[[OnPush], Node], name: str, on_reply: Callable[[], None]) -> None:
        self.node = connect(self._on_push)
        self.report: SentinelReport | None = None
        self.error = ""
        self.unsuitable = False
        self.queried_at = 0.0
        self._packed = [pack(("SENTINEL", "GET-MASTER-ADDR-BY-NAME", name)), pack(("SENTINEL", "MASTER", name))]
        self._on_reply = on_reply
        self._wake = asyncio.Event()
        self._task = asyncio.create_task(self._run(), name=f"scalekit: {self.node.name}")

    def query_soon(self) -> None:
        """Query it at once, or again when a query is pending."""
        self._wake.set()

    async def close(self) -> None:
        """Close the connection."""
        self._task.cancel()
        await asyncio.wait([self._task])
        await self.node.close()

    def _on_push(self, push: list[Reply]) -> None:
        if push[0] == b"message":
            self.query_soon()

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            started = monotonic()
            try:
                self.report, self.error, self.unsuitable = await self._query(started), "", False
            except RedisUnavailable as error:
                self.error, self.unsuitable = str(error), self.node.rejected
            except ReplyError as error:
                self.error, self.unsuitable = f"{self.node.name}: {error}", True
            except Exception:
                self.error, self.unsuitable = f"{self.node.name}: the reply is invalid", False
            self.queried_at = started
            self._on_reply()
            with suppress(TimeoutError):
                async with asyncio.timeout(QUERY_INTERVAL * random.uniform(0.8, 1.0)):
                    await self._wake.wait()

    async def _query(self, now: float) -> SentinelReport:
        """Return the report; address and epoch are read together, because a failover may change both."""
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self.node.send(PendingPipeline(future, self._packed, now, now + QUERY_TIMEOUT, retryable=True))
        address, state = await future
        for reply in (state, address):
            if isinstance(reply, Exception):
                raise reply
        host, port = address
        return SentinelReport(int(state[b"config-epoch"]), (host.decode(), int(port)), now)


class Sentinels:
    """The Sentinels of *address*; *connect* opens the connection to one of them.

    ``master`` is the server that they name, or None until one of them has replied.
    """

    def __init__(self, address: RedisUrl, connect: Callable[[HostPort, OnPush], Node], metrics: RedisMetrics) -> None:
        self.master: HostPort | None = None
        self._address = address
        self._metrics = metrics
        self._subscribers: list[Callable[[], None]] = []
        self._replied: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sentinels = [Sentinel(partial(connect, host), address.master, self._on_reply) for host in address.hosts]

    async def close(self) -> None:
        """Close all connections."""
        await asyncio.gather(*(sentinel.close() for sentinel in self._sentinels))
        self._metrics.set_master(format_host(self.master) if self.master else "", "")

    async def find_master(self) -> HostPort:
        """Query all Sentinels and return the master as soon as one of them has replied; raises MasterUnknownError."""
        started = monotonic()
        for sentinel in self._sentinels:
            sentinel.query_soon()
        while True:
            await asyncio.shield(self._replied)
            recent = [sentinel for sentinel in self._sentinels if sentinel.queried_at >= started]
            if self.master is not None and any(not sentinel.error for sentinel in recent):
                return self.master
            if len(recent) == len(self._sentinels):
                raise self._unknown()

    @contextmanager
    def notify_master(self, callback: Callable[[], None]) -> Generator[None, None, None]:
        """Call *callback* after each change of ``master`` while inside."""
        self._subscribers.append(callback)
        try:
            yield
        finally:
            self._subscribers.remove(callback)

    def _on_reply(self) -> None:
        reports = list(self._reports())
        if reports:
            # Of reports of one epoch, that of the present master, since these differ only for a moment.
            newest = max(reports, key=lambda report: (report.epoch, report.master == self.master))
            if newest.master != self.master:
                self._switch(newest.master)
        replied, self._replied = self._replied, asyncio.get_running_loop().create_future()
        replied.set_result(None)

    def _reports(self) -> Iterator[SentinelReport]:
        oldest = monotonic() - MAX_REPORT_AGE
        for sentinel in self._sentinels:
            if sentinel.report is not None and sentinel.report.received_at > oldest:
                yield sentinel.report

    def _switch(self, master: HostPort) -> None:
        former, name = format_host(self.master) if self.master else "", format_host(master)
        self.master = master
        self._metrics.set_master(former, name)
        if former:
            logger.warning("%s: the master is now %s, was %s", self._address, name, former)
        for callback in self._subscribers.copy():
            callback()

    def _unknown(self) -> MasterUnknownError:
        errors = [sentinel.error for sentinel in self._sentinels]
        permanent = any(sentinel.unsuitable for sentinel in self._sentinels)
        return MasterUnknownError(
            f"no Sentinel names the master {self._address.master}: {'; '.join(errors)}", permanent
        )
