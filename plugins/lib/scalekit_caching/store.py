"""Interface of a cache store."""

from __future__ import annotations

from asyncio import Future
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from scalekit_caching.items import Item, Key
from scalekit_caching.lease import Lease


class RetryGet(Exception):
    """The reply to a :class:`PendingGet` is not reliable: use :meth:`Store.get`."""


class PendingGet(Protocol):
    """A lookup of *key* in the shared store: :meth:`finish` evaluates *reply* once it is done."""

    key: Key
    reply: Future[Any]

    def finish(self) -> Item | None:
        """Return the item or None; raises RetryGet."""
        ...


class Store(Protocol):
    """Items by key. The memory of the process (L1) is read first; a *shared* store has a second level (L2)."""

    shared: bool

    @property
    def version(self) -> int:
        """The version of the last purge that this process knows; items whose computation starts now are newer."""
        ...

    def statistics(self) -> tuple[int, int, int]:
        """Return the number of items in the memory of the process, their bytes, and the number of evictions."""
        ...

    def peek(self, key: Key) -> Item | None:
        """Return the item under *key* in the memory of the process, unless it was purged."""
        ...

    def peek_unsynced(self, key: Key) -> Item | None:
        """Return the item under *key* in the memory of the process, even while changes elsewhere are not reported."""
        ...

    async def get(self, key: Key) -> Item | None:
        """Return the item under *key* from either level, unless it was purged."""
        ...

    def start_get(self, key: Key) -> PendingGet | None:
        """Start a lookup in the shared store at once; None where :meth:`get` is needed."""
        ...

    async def get_many(self, keys: Sequence[Key]) -> list[Item | None]:
        """Return the items under *keys* from either level, in one round trip."""
        ...

    async def current_version(self) -> int:
        """Return the version of the last purge in any process."""
        ...

    def put(self, item: Item, lease: Lease | None = None) -> Future[None] | None:
        """Store *item*; return the future of its write to the shared store, or None.

        The write may also release the *lease* to make the item; the caller must release it all the same.
        """
        ...

    async def put_many(self, items: Sequence[Item]) -> None:
        """Store *items* in one round trip, and return when they are written."""
        ...

    async def delete(self, keys: Iterable[Key]) -> None:
        """Delete *keys* in both levels."""
        ...

    async def purge(self, tags: Iterable[bytes]) -> None:
        """Purge all items with one of *tags* in every process, including items whose computation is in progress."""
        ...

    def purged_since(self, tags: Sequence[bytes], version: int) -> bool:
        """Return whether one of *tags* was purged after *version*; true also when the process cannot know."""
        ...

    async def acquire_lease(self, key: Key, variant: Key, ttl: float) -> tuple[Lease | None, Item | None]:
        """Return the lease to make the *variant* of *key*, or None while another process holds it.

        The item under *key*, read after that, is returned too: another process may have made it just before.
        """
        ...
