"""Two levels: the memory of the process before a store that processes share.

The process answers by itself while it hears of every change in the shared store. Otherwise what it has stands in only
where the shared store fails, and only for a short time after it was last known to be true: others may have purged it.
What the shared store does not answer in time, or not at all, is missing.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from itertools import count

from scalekit_caching.codec import Codec, Corrupt
from scalekit_caching.items import Item, Key, digest
from scalekit_caching.lease import StoreLease
from scalekit_caching.local_invalidation import DISCONNECTED_TTL, ClientSideCaching
from scalekit_caching.metrics import CachingMetrics
from scalekit_caching.pending_get import SharedGets
from scalekit_caching.shared_store import LeaseName, SharedStore
from scalekit_caching.shared_tag_versions import SharedTagVersions
from scalekit_caching.store import Lease, MemoryStore, NoLease, PendingGet, RetryGet

logger = logging.getLogger("scalekit.caching")

LONGEST = 30 * 86400.0
"""Seconds for which it is kept by what the answers of a resource vary; a purge is remembered for longer."""
LARGEST_OF_SCRIPT = 65536  # bytes of an item, which a script copies twice
MOST_WRITES = 256
"""Items on their way to the shared store at one time; what comes beyond them stays in the process."""


class TieredStore:
    """Items in the memory of the process and in *frames*."""

    shared = True

    def __init__(
        self,
        local: MemoryStore,
        frames: SharedStore,
        codec: Codec,
        metrics: CachingMetrics,
        clock: Callable[[], float],
        *,
        disconnected_ttl: float = DISCONNECTED_TTL,
    ) -> None:
        self.local = local
        self.frames = frames
        self._codec = codec
        self._metrics = metrics
        self._clock = clock
        self._purges = SharedTagVersions(frames)
        self._following = ClientSideCaching(local, frames, self._purges, metrics, disconnected_ttl)
        self._fetches = SharedGets(frames, codec, self._following, self._purges, metrics, self._keep)
        self._writes: dict[bytes, asyncio.Future[None]] = {}
        self._process = os.urandom(8)
        self._claims = count()

    @property
    def number(self) -> int:
        """The number of the last purge that is known here. A lower one than the true one is on the safe side."""
        return self._purges.number

    async def current(self) -> int:
        """Return the number of the last purge."""
        if not self._following.live:
            try:
                self._purges.see(await self.frames.number())
            except Exception as error:
                self._metrics.failed(type(error).__name__)
        return self._purges.number

    def peek(self, key: Key) -> Item | None:
        """Return what is in the process under *key*, while it is known to be true."""
        if not self._following.live:
            return None
        found = self.local.peek(key)
        if found is not None:
            self._metrics.found_here.inc()
        return found

    def held(self, key: Key) -> Item | None:
        """Return what is in the process under *key*, true or not."""
        return self.local.peek(key)

    async def fetch(self, key: Key) -> Item | None:
        """Return what is under *key* at either level.

        Who hears of purges need not ask for them, so that it is one question for one frame.
        """
        found = self.peek(key)
        if found is not None:
            return found
        name = digest(key)
        if self._writes:
            await self._written((name,))
        fetch = self._fetches.begin(key)
        if fetch is not None:
            with suppress(Exception):  # finish() meets it again
                await fetch.reply
            with suppress(RetryGet):
                return fetch.finish()
        return (await self._fetched({key: name}))[key]

    def start_get(self, key: Key) -> PendingGet | None:
        """Ask the shared store at once; None where that takes more than one question."""
        return None if self._writes and digest(key) in self._writes else self._fetches.begin(key)

    async def get_many(self, keys: Sequence[Key]) -> list[Item | None]:
        """Return what is under each of *keys* at either level, in one trip; what cannot be read is deleted."""
        found = {key: self.peek(key) for key in keys}
        names = {key: digest(key) for key, item in found.items() if item is None}
        if names:
            if self._writes:
                await self._written(names.values())
            found |= await self._fetched(names)
        return [found[key] for key in keys]

    async def _fetched(self, names: dict[Key, bytes]) -> dict[Key, Item | None]:
        changes = self._following.changes
        try:
            frames, number = await self.frames.get(list(names.values()))
            self._purges.see(number)
            items = await self._readable(names, frames)
            outdated = await self._purges.outdated(items, number)
        except Exception as error:
            self._metrics.failed(type(error).__name__)
            return {key: self._following.stand_in(key) for key in names}
        valid = [item for item, late in zip(items, outdated, strict=True) if not late]
        self._metrics.found_shared.inc(len(valid))
        self._metrics.found_nowhere.inc(len(names) - len(valid))
        for item in valid:
            if not self._following.changed_since(names[item.key], changes):
                self._keep(item, names[item.key])
        return dict.fromkeys(names) | {item.key: item for item in valid}

    async def _taken(self, frame: bytes, name: bytes, key: Key, changes: int) -> Item | None:
        """Return the item in *frame*, which came since so many *changes*, unless it was purged or cannot be read."""
        try:
            item = self._codec.decode(frame, name, key)
        except Corrupt as error:
            await self._drop(name, error)
            item = None
        if item is None or (self._purges.may_be_outdated(item) and await self._is_outdated(item)):
            self._metrics.found_nowhere.inc()
            return None
        self._metrics.found_shared.inc()
        if not self._following.changed_since(name, changes):
            self._keep(item, name)
        return item

    async def _is_outdated(self, item: Item) -> bool:
        try:
            return (await self._purges.outdated((item,), self._purges.number))[0]
        except Exception as error:
            self._metrics.failed(type(error).__name__)
            return True

    async def _readable(self, names: dict[Key, bytes], frames: Sequence[bytes | None]) -> list[Item]:
        items = []
        for (key, name), frame in zip(names.items(), frames, strict=True):
            try:
                if frame is not None:
                    items.append(self._codec.decode(frame, name, key))
            except Corrupt as error:
                await self._drop(name, error)
        return items

    async def _drop(self, name: bytes, error: Corrupt) -> None:
        """Delete what cannot be read."""
        self._metrics.invalid.inc()
        logger.warning("an item in the shared store could not be read and is deleted: %s", error)
        await self._delete((name,))

    def put(self, item: Item, lease: Lease | None = None) -> asyncio.Future[None] | None:
        """Keep *item* here at once, and begin to keep it in the shared store; that ends a *lease* of its key."""
        name = digest(item.key)
        self._keep(item, name)
        seconds = min(item.retain_until() - self._clock(), LONGEST)
        if seconds <= 0 or len(self._writes) >= MOST_WRITES:
            return None
        try:
            frame = self._codec.encode(item, name)
            if isinstance(lease, StoreLease) and lease.lease.name == name and len(frame) <= LARGEST_OF_SCRIPT:
                write = lease.end_with(frame, seconds)
            else:
                write = self.frames.start_put(name, frame, seconds)
        except Exception as error:
            self._metrics.failed(type(error).__name__)
            return None
        self._begun(name, write)
        return write

    async def keep(self, items: Sequence[Item]) -> None:
        """Keep *items* here and in the shared store, in one trip."""
        named = {digest(item.key): item for item in items}
        for name, item in named.items():
            self._keep(item, name)
        await self._write(named)

    async def remove(self, keys: Iterable[Key]) -> None:
        """Forget what is under *keys*."""
        listed = list(keys)
        await self.local.remove(listed)
        names = [digest(key) for key in listed]
        await self._written(names)
        await self._delete(names)

    async def purge(self, tags: Iterable[bytes]) -> None:
        """Purge *tags* in all processes. Raises what the shared store raises: a purge must not fail in silence."""
        listed = list(tags)
        number = await self.frames.advance(listed)
        self.local.generations.advance(listed, number)
        self._purges.see(max(number, self._purges.number))

    def purged(self, tags: Sequence[bytes], since: int) -> bool:
        """Tell whether one of *tags* was purged after the purge *since*; what was purged elsewhere may not be known."""
        missed = self._purges.number != since and not self._following.live
        return missed or self.local.generations.purged(tags, since)

    async def acquire_lease(self, key: Key, variant: Key, seconds: float) -> tuple[Lease | None, Item | None]:
        """Return the right to make the *variant* of *key*, and what is under *key*, looked at after that is known.

        Without the shared store everybody has the right.
        """
        name, changes = digest(key), self._following.changes
        held = StoreLease(self.frames, LeaseName(name, b"" if variant == key else digest(variant)), self._token())
        try:
            taken, frame = await self.frames.acquire(held.lease, held.token, seconds)
            if frame is None:
                return held if taken else None, None
            await self.current()
            return held if taken else None, await self._taken(frame, name, key, changes)
        except Exception as error:
            self._metrics.failed(type(error).__name__)
            held.release()
            return NoLease(), None
        except BaseException:
            held.release()
            raise

    def _token(self) -> bytes:
        return b"%b%d" % (self._process, next(self._claims))

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None, None]:
        """Hear of changes while inside, and wait at the end for what is on its way."""
        try:
            async with self._following.following():
                yield
        finally:
            await self.close()

    async def close(self) -> None:
        """Wait for what is on its way."""
        await asyncio.gather(*self._writes.values(), return_exceptions=True)

    def _keep(self, item: Item, name: bytes) -> None:
        self.local.put(item)
        self._following.kept(name, item)

    def _begun(self, name: bytes, write: asyncio.Future[None]) -> None:
        """Take note that *write*, the newest of what is under *name*, is on its way."""
        self._writes[name] = write
        write.add_done_callback(partial(self._done, name))

    def _done(self, name: bytes, write: asyncio.Future[None]) -> None:
        if self._writes.get(name) is write:
            del self._writes[name]
        error = None if write.cancelled() else write.exception()
        if error is not None:
            self._metrics.failed(type(error).__name__)

    async def _written(self, names: Iterable[bytes]) -> None:
        """Wait until what is on its way under *names* is there: nobody asks for it or deletes it before."""
        writes = [self._writes[name] for name in names if name in self._writes]
        if writes:
            await asyncio.wait(writes)

    async def _write(self, items: dict[bytes, Item]) -> None:
        worth = {name: min(item.retain_until() - self._clock(), LONGEST) for name, item in items.items()}
        useful = {name: item for name, item in items.items() if worth[name] > 0}
        if not useful:
            return
        try:
            frames = {name: self._codec.encode(item, name) for name, item in useful.items()}
            await self.frames.put(frames, [worth[name] for name in frames])
        except Exception as error:
            self._metrics.failed(type(error).__name__)

    async def _delete(self, names: Sequence[bytes]) -> None:
        try:
            await self.frames.delete(names)
        except Exception as error:
            self._metrics.failed(type(error).__name__)
