"""Count, show, replay and purge messages in a SQLite file, for the commands and the console."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import ParamSpec, TypeVar

from scalekit_queue.config import QueueConfig
from scalekit_queue.envelope import Envelope
from scalekit_queue.sqlite.store import MAX_BLOB, MessageStore
from scalekit_queue.transport import QueueDepth

P = ParamSpec("P")
T = TypeVar("T")


@asynccontextmanager
async def open_sqlite_admin(config: QueueConfig) -> AsyncGenerator[SqliteAdmin, None]:
    """Open the file of *config* while inside, with a connection and a thread of its own; raise sqlite3.Error."""
    store = MessageStore(config.file, config.synchronous)
    thread = ThreadPoolExecutor(1, "scalekit-queue-admin")
    try:
        admin = SqliteAdmin(store, thread)
        await admin.run(store.open)
        yield admin
    finally:
        store.interrupt()  # a statement may still be running after a timeout
        thread.submit(store.close)
        thread.shutdown(wait=False)


class SqliteAdmin:
    """Implements :class:`scalekit_queue.transport.QueueAdmin` with *store*, which it uses in *thread*."""

    def __init__(self, store: MessageStore, thread: ThreadPoolExecutor) -> None:
        self._store = store
        self._thread = thread

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call *function* of the store in its thread."""
        return await asyncio.wrap_future(self._thread.submit(function, *args, **kwargs))

    async def names(self) -> list[str]:
        """Return the names of all messages in the file."""
        return await self.run(self._store.names)

    async def depth(self, name: str, delay_queues: Collection[str] = ()) -> QueueDepth:
        """Count the messages named *name*."""
        return await self.run(self._store.depth, name)

    async def peek(self, name: str, dead: bool, limit: int, max_body: int | None = None) -> list[Envelope]:
        """Return the first messages named *name*."""
        return await self.run(self._store.peek, name, dead, limit, MAX_BLOB if max_body is None else max_body)

    async def find_dead_letter(self, name: str, identifier: str) -> Envelope | None:
        """Return the oldest dead letter with the id *identifier*."""
        return await self.run(self._store.find_dead_letter, name, identifier)

    async def replay(self, name: str, ids: Sequence[str], limit: int) -> int:
        """Return dead letters to the queue; return their number."""
        return await self.run(self._write, self._store.replay, name, ids, limit)

    async def purge(self, name: str, dead: bool, ids: Sequence[str] = ()) -> int:
        """Delete messages; return their number."""
        return await self.run(self._write, self._store.purge, name, dead, ids)

    def _write(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        self._store.begin()
        try:
            result = function(*args, **kwargs)
            self._store.commit()
        except BaseException:
            self._store.rollback()
            raise
        return result
