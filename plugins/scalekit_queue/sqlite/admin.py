"""Count, show, replay and purge messages in a SQLite file, for the commands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ParamSpec, TypeVar

from scalekit_queue.envelope import Envelope
from scalekit_queue.sqlite.store import MessageStore
from scalekit_queue.transport import QueueDepth

P = ParamSpec("P")
T = TypeVar("T")


class SqliteAdmin:
    """Implements :class:`scalekit_queue.transport.QueueAdmin`; it blocks, which only a command may do."""

    def __init__(self, store: MessageStore) -> None:
        self._store = store

    async def names(self) -> list[str]:
        """Return the names of all messages in the file."""
        return self._store.names()

    async def depth(self, name: str) -> QueueDepth:
        """Count the messages named *name*."""
        return self._store.depth(name)

    async def peek(self, name: str, dead: bool, limit: int) -> list[Envelope]:
        """Return the first messages named *name*."""
        return self._store.peek(name, dead, limit)

    async def replay(self, name: str, ids: Sequence[str], limit: int) -> int:
        """Return dead letters to the queue; return their number."""
        return self._write(self._store.replay, name, ids, limit)

    async def purge(self, name: str, dead: bool) -> int:
        """Delete messages; return their number."""
        return self._write(self._store.purge, name, dead)

    def _write(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        self._store.begin()
        try:
            result = function(*args, **kwargs)
            self._store.commit()
        except BaseException:
            self._store.rollback()
            raise
        return result
