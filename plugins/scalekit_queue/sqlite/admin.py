"""Show and move the messages of a SQLite file, for commands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from scalekit_queue.envelope import Envelope, QueueDepth
from scalekit_queue.sqlite.store import MessageStore


class SqliteAdmin:
    """See :class:`scalekit_queue.envelope.QueueAdmin`; a command has nothing else to do meanwhile."""

    def __init__(self, store: MessageStore) -> None:
        self._store = store

    async def names(self) -> list[str]:
        """Return the names of all messages that are there."""
        return self._store.names()

    async def depth(self, name: str) -> QueueDepth:
        """Count the messages *name*."""
        return self._store.depth(name)

    async def peek(self, name: str, dead: bool, limit: int) -> list[Envelope]:
        """Return the first messages *name*."""
        return self._store.peek(name, dead, limit)

    async def replay(self, name: str, ids: Sequence[str], limit: int) -> int:
        """Make dead letters messages again."""
        return int(self._write(self._store.replay, name, ids, limit))

    async def purge(self, name: str, dead: bool) -> int:
        """Drop messages."""
        return int(self._write(self._store.purge, name, dead))

    def _write(self, function: Callable[..., Any], *arguments: Any) -> Any:
        self._store.begin()
        try:
            result = function(*arguments)
            self._store.commit()
        except BaseException:
            self._store.rollback()
            raise
        return result
