"""Two levels: the memory of the process before a store that processes share.

The process answers by itself while it hears of every change in the shared store. Otherwise what it has stands in only
where the shared store fails. What the shared store does not answer in time, or not at all, is missing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from scalekit.caching.codec import Codec, Corrupt
from scalekit.caching.following import Changes, Following
from scalekit.caching.frames import Frames
from scalekit.caching.items import Item, Key, digest
from scalekit.caching.metrics import CachingMetrics
from scalekit.caching.purge_numbers import PurgeNumbers
from scalekit.caching.store import Alone, Lease, MemoryStore

logger = logging.getLogger("scalekit.caching")

LONGEST = 30 * 86400.0
"""Seconds for which it is kept by what the answers of a resource vary; a purge is remembered for longer."""
MOST_WRITES = 256
"""Items on their way to the shared store at one time; what comes beyond them stays in the process."""


class Held:
    """A lease that the frames of *levels* gave."""

    def __init__(self, levels: Levels, key: bytes, token: bytes) -> None:
        self._levels = levels
        self._key = key
        self._token = token

    async def release(self) -> None:
        """End it, once what was made is there for the others; one that cannot be ended runs out.

        What is on its way was sent in order, so that the newest of it is there last.
        """
        newest = self._levels.newest
        if newest is not None and not newest.done():
            await asyncio.wait((newest,))
        try:
            await self._levels.frames.release(self._key, self._token)
        except Exception as error:
            logger.debug("a lease runs out by itself: %s", type(error).__name__)


class Levels:
    """Items in the memory of the process and in *frames*."""

    shared = True

    def __init__(
        self, local: MemoryStore, frames: Frames, codec: Codec, metrics: CachingMetrics, clock: Callable[[], float]
    ) -> None:
        self.local = local
        self.frames = frames
        self._codec = codec
        self._metrics = metrics
        self._clock = clock
        self._purges = PurgeNumbers(frames)
        self._following = Following(local, frames, self._purges, metrics)
        self.newest: asyncio.Task[None] | None = None
        self._writes: dict[bytes, asyncio.Task[None]] = {}

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
        """Return what is under *key* at either level."""
        return (await self.fetch_many((key,)))[0]

    async def fetch_many(self, keys: Sequence[Key]) -> list[Item | None]:
        """Return what is under each of *keys* at either level, in one trip; what cannot be read is deleted."""
        found = {key: self.peek(key) for key in keys}
        names = {key: digest(key) for key, item in found.items() if item is None}
        if names:
            if self._writes:
                await self._written(names.values())
            with self._following.fetching() as changes:
                found |= await self._fetched(names, changes)
        return [found[key] for key in keys]

    async def _fetched(self, names: dict[Key, bytes], changes: Changes) -> dict[Key, Item | None]:
        try:
            frames, number = await self.frames.get(list(names.values()))
            self._purges.see(number)
            items = self._decoded(names, frames)
            outdated = await self._purges.outdated(items, number)
        except Exception as error:
            self._metrics.failed(type(error).__name__)
            return {key: self.local.peek(key) for key in names}
        valid: dict[Key, Item | None] = {item.key: item for item, late in zip(items, outdated, strict=True) if not late}
        self._metrics.found_shared.inc(len(valid))
        self._metrics.found_nowhere.inc(len(names) - len(valid))
        for item in filter(None, valid.values()):
            if not changes.concern(names[item.key]):
                self._keep(item, names[item.key])
        return valid | {key: None for key in names if key not in valid}

    def _decoded(self, names: dict[Key, bytes], frames: Sequence[bytes | None]) -> list[Item]:
        items, corrupt = [], []
        for (key, name), frame in zip(names.items(), frames, strict=True):
            try:
                if frame is not None:
                    items.append(self._codec.decode(frame, key))
            except Corrupt as error:
                self._metrics.invalid.inc()
                logger.warning("an item in the shared store could not be read and is deleted: %s", error)
                corrupt.append(name)
        if corrupt:
            self._start(corrupt[0], self._delete(corrupt))
        return items

    def put(self, item: Item) -> None:
        """Keep *item* here at once, and in the shared store soon."""
        name = digest(item.key)
        self._keep(item, name)
        if len(self._writes) < MOST_WRITES:
            self._start(name, self._write({name: item}))

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

    async def lease(self, key: Key, seconds: float) -> Lease | None:
        """Return the right to make what is under *key*; without the shared store everybody has it."""
        name = digest(key)
        try:
            token = await self.frames.acquire(name, seconds)
        except Exception as error:
            self._metrics.failed(type(error).__name__)
            return Alone()
        return None if token is None else Held(self, name, token)

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
        self._following.kept(name, item.key)

    def _start(self, name: bytes, work: Coroutine[Any, Any, None]) -> None:
        """Do *work* for what is under *name* in the background, after what is done for it already."""
        before = self._writes.get(name)
        task = asyncio.create_task(work if before is None else _after(before, work))
        self._writes[name] = self.newest = task
        task.add_done_callback(lambda done: self._writes.pop(name) if self._writes.get(name) is done else None)

    async def _written(self, names: Iterable[bytes]) -> None:
        """Wait until what is on its way under *names* is there: nobody asks for it or deletes it before."""
        writes = [self._writes[name] for name in names if name in self._writes]
        if writes:
            await asyncio.gather(*writes, return_exceptions=True)

    async def _write(self, items: dict[bytes, Item]) -> None:
        worth = {name: min(item.useful_until() - self._clock(), LONGEST) for name, item in items.items()}
        useful = {name: item for name, item in items.items() if worth[name] > 0}
        if not useful:
            return
        try:
            frames = {name: self._codec.encode(item) for name, item in useful.items()}
            await self.frames.put(frames, [worth[name] for name in frames])
        except Exception as error:
            self._metrics.failed(type(error).__name__)

    async def _delete(self, names: Sequence[bytes]) -> None:
        try:
            await self.frames.delete(names)
        except Exception as error:
            self._metrics.failed(type(error).__name__)


async def _after(before: asyncio.Task[None], work: Coroutine[Any, Any, None]) -> None:
    await asyncio.gather(before, return_exceptions=True)
    await work
