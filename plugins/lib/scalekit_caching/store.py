"""Where items are kept: what the rest asks of a store, and the store in the process."""

from __future__ import annotations

from asyncio import Future
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from scalekit_caching.items import Item, Key
from scalekit_caching.sieve import Sieve
from scalekit_caching.tag_versions import TagVersions


class Lease(Protocol):
    """The right to make what is missing, among all processes that share a store."""

    def release(self, after: Future[None] | None = None) -> None:
        """Give it back once *after* is done, so that the next need not wait until it runs out."""
        ...


class RetryGet(Exception):
    """What has come cannot be relied on: use :meth:`Store.fetch`."""


class PendingGet(Protocol):
    """A question for what is under *key*: once *reply* is there, :meth:`finish` tells what was found."""

    key: Key
    reply: Future[Any]

    def finish(self) -> Item | None:
        """Return what was found; raises RetryGet."""
        ...


class Store(Protocol):
    """Items by key.

    What is in the process is looked at first and at once; only a store that is *shared* is asked further.
    """

    shared: bool

    @property
    def number(self) -> int:
        """The number of the last purge that is known here; what is begun now is begun after it."""
        ...

    def peek(self, key: Key) -> Item | None:
        """Return what is in the process under *key*, unless it was purged."""
        ...

    def held(self, key: Key) -> Item | None:
        """Return the same, though others may have changed it meanwhile."""
        ...

    async def fetch(self, key: Key) -> Item | None:
        """Return what is under *key* in the process or elsewhere, unless it was purged."""
        ...

    def start_get(self, key: Key) -> PendingGet | None:
        """Ask elsewhere at once for what is under *key*; None where that takes more than one question: use fetch."""
        ...

    async def get_many(self, keys: Sequence[Key]) -> list[Item | None]:
        """Return the same of each of *keys*, all at once."""
        ...

    async def current(self) -> int:
        """Return the number of the last purge, wherever that was."""
        ...

    def put(self, item: Item, lease: Lease | None = None) -> Future[None] | None:
        """Keep *item*; return what tells that it is there for all, if that takes its time in the background.

        A *lease* to make it may end with that; it must be released all the same.
        """
        ...

    async def keep(self, items: Sequence[Item]) -> None:
        """Keep *items*, all at once, and return when that is done."""
        ...

    async def remove(self, keys: Iterable[Key]) -> None:
        """Forget what is under *keys*, everywhere."""
        ...

    async def purge(self, tags: Iterable[bytes]) -> None:
        """Forget, at once and everywhere, what has one of *tags*, and what of it is being made."""
        ...

    def purged(self, tags: Sequence[bytes], since: int) -> bool:
        """Tell whether one of *tags* was purged after the purge *since*, or may have been, as far as is known here."""
        ...

    async def acquire_lease(self, key: Key, variant: Key, seconds: float) -> tuple[Lease | None, Item | None]:
        """Return the right to make the *variant* of *key*, or None while another process has it.

        With it comes what is under *key*, looked at after that is known: another may have made it just before.
        """
        ...


class NoLease:
    """The lease of who shares with nobody."""

    def release(self, after: Future[None] | None = None) -> None:
        """Do nothing."""


class MemoryStore:
    """Items in the memory of one process, *budget* bytes of them."""

    shared = False

    def __init__(self, budget: int) -> None:
        self.table = Sieve(budget)
        self.generations = TagVersions()

    @property
    def number(self) -> int:
        """The number of the last purge."""
        return self.generations.number

    def figures(self) -> tuple[int, int, int]:
        """Return how many items there are, of how many bytes, and how many made room for others."""
        return len(self.table.items), self.table.size, self.table.evicted

    def peek(self, key: Key) -> Item | None:
        """Return what is under *key*, unless it was purged."""
        item = self.table.items.get(key)
        if item is None:
            return None
        if item.valid != self.generations.number and self.generations.outdated(item):
            self.table.remove(key)
            return None
        item.used = True
        return item

    held = peek

    async def fetch(self, key: Key) -> Item | None:
        """Return the same."""
        return self.peek(key)

    def start_get(self, key: Key) -> PendingGet | None:
        """Return None: there is nothing elsewhere."""
        return None

    async def get_many(self, keys: Sequence[Key]) -> list[Item | None]:
        """Return the same of each of *keys*."""
        return [self.peek(key) for key in keys]

    async def current(self) -> int:
        """Return the number of the last purge."""
        return self.generations.number

    def put(self, item: Item, lease: Lease | None = None) -> Future[None] | None:
        """Keep *item*; when it was purged while it was made, nobody gets it."""
        self.table.put(item)
        return None

    async def keep(self, items: Sequence[Item]) -> None:
        """Keep *items*."""
        for item in items:
            self.table.put(item)

    async def remove(self, keys: Iterable[Key]) -> None:
        """Forget what is under *keys*."""
        for key in keys:
            self.table.remove(key)

    async def purge(self, tags: Iterable[bytes]) -> None:
        """Forget what has one of *tags*."""
        self.generations.advance(tags)

    def purged(self, tags: Sequence[bytes], since: int) -> bool:
        """Tell whether one of *tags* was purged after the purge *since*."""
        return self.generations.purged(tags, since)

    async def acquire_lease(self, key: Key, variant: Key, seconds: float) -> tuple[Lease, Item | None]:
        """Return a lease; in one process one flight at a time makes what is missing."""
        return NoLease(), self.peek(key)
