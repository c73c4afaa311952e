"""Invalidate stored responses after unsafe requests (RFC 9111, section 4.4), and after writes to SQL tables.

With ``tags_from_sql`` a response is tagged with the tables that its handler read. A response with unknown tables is not
stored; a write to unknown tables purges every response that was made from any table.

A write does not fail when its purge fails. The purge is then pending: the process reuses no stored response until the
shared store has accepted the purge, which is retried. When the outcome of a write is unknown, its tables are purged
every second until the outcome must be decided.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urljoin, urlsplit

from starlette.types import Message, Scope, Send

from scalekit.contracts import Tables
from scalekit.telemetry import GaugeSeries
from scalekit_cache.keys import Resource, resource_of
from scalekit_cache.storability import fields_of
from scalekit_caching import CachingMetrics, Store, name_tag

if TYPE_CHECKING:
    from scalekit_cache.http_cache import HttpCache

logger = logging.getLogger("scalekit.cache")

MAX_TABLES = 100
"""Maximum number of tables with which a response is tagged; a response made from more is not stored."""
ANY_TABLE = name_tag("sql:*")
"""The tag of every response that was made from a table."""
MAX_TAGS = 1000
"""Maximum number of tags of pending or undecided purges; more are replaced by ANY_TABLE."""
MIN_RETRY_INTERVAL, MAX_RETRY_INTERVAL = 0.05, 2.0
"""Seconds between two attempts of a pending purge."""
UNDECIDED_TTL = 30.0
"""Seconds after which a cancelled statement has either been committed or rolled back."""
UNDECIDED_INTERVAL = 1.0
"""Seconds between two purges of undecided tags."""
LOCATION_FIELDS = frozenset({b"location", b"content-location"})


class InvalidationSender:
    """Wraps *send* of an unsafe request, and invalidates its resource when the response is successful."""

    def __init__(self, cache: HttpCache, scope: Scope, send: Send) -> None:
        self.cache = cache
        self.scheme = scope["scheme"]
        # Computed before the application is called, because mounts extend root_path in the same scope.
        self.resource = resource_of(cache.policies, cache.options.sort_query, scope, fields_of(scope["headers"]))
        self._send = send

    async def send(self, message: Message) -> None:
        """Invalidate before the client gets the start of the response."""
        if message["type"] == "http.response.start" and 200 <= message["status"] < 400:
            await self.cache.invalidate(list(self._resources(message)))
        await self._send(message)

    def _resources(self, message: Message) -> Iterator[Resource]:
        resource, cache = self.resource, self.cache
        yield resource
        host = resource.host.decode("latin-1")
        url = f"{self.scheme}://{host}{resource.raw_path.decode('latin-1')}"
        for name, value in message.get("headers", ()):
            if name.lower() in LOCATION_FIELDS:
                try:
                    target = urlsplit(urljoin(url, value.decode("latin-1")))
                except ValueError:
                    continue
                if target.netloc.lower() == host.lower():  # RFC 9111 forbids to invalidate those of another origin
                    path, query = (target.path or "/").encode("latin-1"), target.query.encode("latin-1")
                    yield resource.sibling(cache.policies, cache.options.sort_query, path, query)


class ReadTracker:
    """The tables from which a response in flight has been made so far; ``known`` is False when they are unknown."""

    __slots__ = ("_names", "known")

    def __init__(self) -> None:
        self.known = True
        self._names: set[str] = set()

    def add(self, tables: Tables) -> None:
        """Add *tables*, which were read."""
        if tables is None or not self.known:
            self.known = False
            return
        self._names |= tables
        if len(self._names) > MAX_TABLES:
            self.known = False

    def merge_tags(self, others: tuple[bytes, ...]) -> tuple[bytes, ...] | None:
        """Return *others* and the tags of the tables, or None when the response must not be stored."""
        tags = self.tags()
        return None if tags is None else tuple(dict.fromkeys((*others, *tags)))

    def tags(self) -> tuple[bytes, ...] | None:
        """Return the tags of the tables, or None when the response must not be stored."""
        return table_tags(frozenset(self._names), (ANY_TABLE,)) if self.known else None


READS: ContextVar[ReadTracker | None] = ContextVar("scalekit.cache.reads", default=None)
"""The tables of the response that the current context makes."""


def track_reads() -> ReadTracker:
    """Return a tracker of the tables that the current context, and tasks that it starts, read from now on."""
    tables = ReadTracker()
    READS.set(tables)
    return tables


def table_tags(tables: frozenset[str], others: tuple[bytes, ...] = ()) -> tuple[bytes, ...]:
    """Return *others* and the tags of *tables*; empty when there are no tables."""
    return (*others, *(name_tag(f"sql:{name}") for name in sorted(tables))) if tables else ()


class SqlInvalidation:
    """Observes reads and writes of tables, and purges from *store*.

    *suspend* is called with whether the cache must be suspended; *pending_purges* is the gauge of pending tags.
    """

    def __init__(
        self, store: Store, metrics: CachingMetrics, suspend: Callable[[bool], None], pending_purges: GaugeSeries
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._suspend = suspend
        self._pending_purges = pending_purges
        self._pending: set[bytes] = set()
        self._undecided: dict[bytes, float] = {}
        self._purges: set[asyncio.Task[None]] = set()
        self._retry_task: asyncio.Task[None] | None = None
        self._undecided_task: asyncio.Task[None] | None = None

    def read(self, tables: Tables) -> None:
        """Record that *tables* are about to be read, for the response that the current context makes, if any."""
        reads = READS.get()
        if reads is not None:
            reads.add(tables)

    async def wrote(self, tables: Tables) -> None:
        """Purge responses made from *tables*; cancelling the caller does not cancel the purge."""
        tags = _purged_tags(tables)
        if not tags:
            return
        if self._store.shared:
            await asyncio.shield(self._start(self._purge(tags)))
        else:
            await self._purge(tags)

    def may_have_written(self, tables: Tables) -> None:
        """Purge responses made from *tables* now, and repeatedly until the write must have been decided."""
        tags = _purged_tags(tables)
        if not tags:
            return
        self._start(self._purge(tags))
        if len(self._undecided) > MAX_TAGS:
            tags = (ANY_TABLE,)
        self._undecided |= dict.fromkeys(tags, asyncio.get_running_loop().time() + UNDECIDED_TTL)
        if self._undecided_task is None or self._undecided_task.done():
            self._undecided_task = asyncio.create_task(self._purge_undecided())

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[Self, None]:
        """Return itself, and finish started purges at exit."""
        try:
            yield self
        finally:
            await asyncio.gather(*self._purges, return_exceptions=True)
            tasks = [task for task in (self._retry_task, self._undecided_task) if task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, purge: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(purge)
        self._purges.add(task)
        task.add_done_callback(self._purges.discard)
        return task

    async def _purge(self, tags: tuple[bytes, ...]) -> None:
        if not self._pending and await self._try(tags):
            return
        self._pending |= set(tags)
        if len(self._pending) > MAX_TAGS:
            self._pending = {ANY_TABLE}
        self._pending_purges.set(len(self._pending))
        if self._retry_task is None or self._retry_task.done():
            self._suspend(True)
            logger.error("cache suspended: a purge of tables could not be written to the shared store; retrying")
            self._retry_task = asyncio.create_task(self._retry_pending())

    async def _try(self, tags: tuple[bytes, ...]) -> bool:
        try:
            await self._store.purge(tags)
        except Exception as error:
            self._metrics.count_failure(type(error).__name__)
            return False
        self._metrics.purges.inc()
        return True

    async def _retry_pending(self) -> None:
        interval = MIN_RETRY_INTERVAL
        while self._pending:
            await asyncio.sleep(interval)
            interval = min(2 * interval, MAX_RETRY_INTERVAL)
            tags = tuple(self._pending)
            if await self._try(tags):
                self._pending = self._pending.difference(tags)
                self._pending_purges.set(len(self._pending))
        logger.info("cache resumed: every pending purge of tables has been written to the shared store")
        self._suspend(False)

    async def _purge_undecided(self) -> None:
        loop = asyncio.get_running_loop()
        while self._undecided:
            await asyncio.sleep(UNDECIDED_INTERVAL)
            now, tags = loop.time(), tuple(self._undecided)
            await self._purge(tags)
            self._undecided = {tag: until for tag, until in self._undecided.items() if until > now}


def _purged_tags(tables: Tables) -> tuple[bytes, ...]:
    return (ANY_TABLE,) if tables is None else table_tags(tables)
