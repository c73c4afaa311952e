"""Two levels: the memory of the process before a store that processes share.

What the shared store does not answer in time, or not at all, is missing; nothing waits for it to be kept there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence

from scalekit.caching.codec import Codec, Corrupt
from scalekit.caching.frames import Frames
from scalekit.caching.items import Item, Key, digest
from scalekit.caching.metrics import CachingMetrics
from scalekit.caching.store import Alone, Lease, MemoryStore

logger = logging.getLogger("scalekit.caching")

LONGEST = 30 * 86400.0
"""Seconds for which it is kept by what the answers of a resource vary; a purge is remembered for as long."""
MOST_WRITES = 256
"""Items on their way to the shared store at one time; what comes beyond them stays in the process."""


class Held:
    """A lease that *frames* gave."""

    def __init__(self, frames: Frames, key: bytes, token: bytes, writes: set[asyncio.Task[None]]) -> None:
        self._frames = frames
        self._writes = writes
        self._key = key
        self._token = token

    async def release(self) -> None:
        """End it, once what was made is there for the others; one that cannot be ended runs out."""
        await asyncio.gather(*self._writes, return_exceptions=True)
        try:
            await self._frames.release(self._key, self._token)
        except Exception as error:
            logger.debug("a lease runs out by itself: %s", type(error).__name__)


class Levels:
    """Items in the memory of the process and in *frames*."""

    shared = True

    def __init__(
        self,
        local: MemoryStore,
        frames: Frames,
        codec: Codec,
        metrics: CachingMetrics,
        clock: Callable[[], float],
    ) -> None:
        self.local = local
        self.frames = frames
        self._codec = codec
        self._metrics = metrics
        self._clock = clock
        self._writes: set[asyncio.Task[None]] = set()

    @property
    def number(self) -> int:
        """The number of the last purge that is known here. A lower one than the true one is on the safe side."""
        return self.local.generations.number

    def peek(self, key: Key) -> Item | None:
        """Return what is in the process under *key*."""
        return self.local.peek(key)

    async def fetch(self, key: Key) -> Item | None:
        """Return what is under *key* at either level; what cannot be read is counted and deleted."""
        found = self.local.peek(key)
        if found is not None:
            return found
        name = digest(key)
        try:
            frame = await self.frames.get(name)
            if frame is None:
                return None
            item = self._codec.decode(frame, key)
            tags = item.every_tag()
            purged = await self.frames.numbers(tags) if tags else ()
        except Corrupt as error:
            self._metrics.invalid.inc()
            logger.warning("an item in the shared store could not be read and is deleted: %s", error)
            await self._delete([name])
            return None
        except Exception as error:
            self._metrics.failed(type(error).__name__)
            return None
        if any(number > item.since for number in purged):
            return None
        self.local.put(item)
        return item

    def put(self, item: Item) -> None:
        """Keep *item* here at once, and in the shared store soon."""
        self.local.put(item)
        if len(self._writes) < MOST_WRITES:
            task = asyncio.create_task(self._write(item))
            self._writes.add(task)
            task.add_done_callback(self._writes.discard)

    async def remove(self, keys: Iterable[Key]) -> None:
        """Forget what is under *keys*."""
        listed = list(keys)
        await self.local.remove(listed)
        await self._delete([digest(key) for key in listed])

    async def purge(self, tags: Iterable[bytes]) -> None:
        """Purge *tags* in all processes. Raises what the shared store raises: a purge must not fail in silence."""
        listed = list(tags)
        self.local.generations.advance(listed, await self.frames.advance(listed))

    async def lease(self, key: Key, seconds: float) -> Lease | None:
        """Return the right to make what is under *key*; without the shared store everybody has it."""
        name = digest(key)
        try:
            token = await self.frames.acquire(name, seconds)
        except Exception as error:
            self._metrics.failed(type(error).__name__)
            return Alone()
        return None if token is None else Held(self.frames, name, token, self._writes)

    def learn(self, number: int, tags: Iterable[bytes]) -> None:
        """Take note that another process has purged *tags*."""
        self.local.generations.advance(tags, number)

    async def close(self) -> None:
        """Wait for what is on its way."""
        await asyncio.gather(*self._writes, return_exceptions=True)

    async def _write(self, item: Item) -> None:
        seconds = self._worth(item)
        if seconds > 0:
            try:
                await self.frames.put(digest(item.key), self._codec.encode(item), seconds)
            except Exception as error:
                self._metrics.failed(type(error).__name__)

    def _worth(self, item: Item) -> float:
        """Return for how many seconds from now *item* may be of use."""
        return min(item.useful_until() - self._clock(), LONGEST)

    async def _delete(self, names: Sequence[bytes]) -> None:
        try:
            await self.frames.delete(names)
        except Exception as error:
            self._metrics.failed(type(error).__name__)
