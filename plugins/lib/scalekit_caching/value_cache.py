"""Values of an application by key: bytes as they are, everything else as JSON; nothing is ever executed to read one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

import orjson

from scalekit import Duration, encode_json
from scalekit.contracts import TTL
from scalekit_caching.items import Item, Key, Value
from scalekit_caching.metrics import CachingMetrics
from scalekit_caching.store import Lease, Store
from scalekit_caching.tags import name_tag, path_tag

T = TypeVar("T")

BYTES = b"b"
JSON = b"j"
NAMESPACE = b"object"
LONGEST_KEY = 1024
LARGEST_VALUE = 16 * 1024 * 1024
"""Bytes of a value that are kept; a larger one would hold up what others ask the shared store for."""
MISSING = object()
FIRST_LOOK, LAST_LOOK = 0.005, 0.1
"""Seconds between two looks for what another process makes; the pause doubles from the first to the last."""


class PendingValue:
    """One call that makes a value, which is *outdated* once the value is set or deleted meanwhile."""

    outdated = False


class ValueCache:
    """Get and set values in *store*, and make one that is missing once; caches of one store have each a *namespace*."""

    def __init__(
        self,
        store: Store,
        metrics: CachingMetrics,
        clock: Callable[[], float],
        wait: float,
        namespace: bytes = NAMESPACE,
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._clock = clock
        self._wait = wait
        self._namespace = namespace
        self._making: dict[Key, tuple[asyncio.Lock, list[None]]] = {}
        self._begun: dict[Key, set[PendingValue]] = {}

    async def get(self, key: str, default: Any = None) -> Any:
        """Return the value under *key*, or *default*."""
        found = await self._find(self._key(key))
        (self._metrics.object_miss if found is MISSING else self._metrics.object_hit).inc()
        return default if found is MISSING else found

    async def get_many(self, keys: Sequence[str]) -> dict[str, Any]:
        """Return the values under those of *keys* that have one."""
        items = await self._store.get_many([self._key(key) for key in keys])
        found = {key: await self._content(item) for key, item in zip(keys, items, strict=True)}
        present = {key: value for key, value in found.items() if value is not MISSING}
        self._metrics.object_hit.inc(len(present))
        self._metrics.object_miss.inc(len(found) - len(present))
        return present

    async def set(self, key: str, value: Any, ttl: str | float = TTL, tags: Sequence[str] = ()) -> None:
        """Keep *value* under *key* for *ttl*, seconds or a duration such as ``"5m"``."""
        await self.set_many({key: value}, ttl, tags)

    async def set_many(self, values: Mapping[str, Any], ttl: str | float = TTL, tags: Sequence[str] = ()) -> None:
        """Keep all of *values* by key for *ttl*."""
        framed, seconds = {self._key(key): _frame(value) for key, value in values.items()}, _seconds(ttl)
        for key, frame in zip(values, framed.values(), strict=True):
            if len(frame) > LARGEST_VALUE:
                raise ValueError(
                    f"{key!r} has {len(frame)} bytes and at most {LARGEST_VALUE} are kept; keep it elsewhere"
                )
        number = await self._store.current() if tags else self._store.number
        self._outdate(framed)
        await self._keep(framed, seconds, tags, number)

    async def delete(self, *keys: str) -> None:
        """Forget what is under *keys*."""
        whole = [self._key(key) for key in keys]
        self._outdate(whole)
        await self._store.remove(whole)

    async def get_or_set(
        self, key: str, ttl: str | float, make: Callable[[], Awaitable[T]], tags: Sequence[str] = ()
    ) -> T:
        """Return the value under *key*; if there is none, that which *make* returns, made once for all who ask."""
        whole, seconds = self._key(key), _seconds(ttl)
        found = await self._find(whole)
        if found is MISSING:
            self._metrics.object_miss.inc()
            found = await self._make(whole, seconds, make, tags)
        else:
            self._metrics.object_hit.inc()
        made: T = found
        return made

    async def purge(self, *, tag: str | Iterable[str] = (), path: str | Iterable[str] = ()) -> None:
        """Forget every answer and value that has one of the tags, and the answers of the paths."""
        tags = [name_tag(each) for each in _each(tag)] + [path_tag(each) for each in _each(path)]
        if not tags:
            raise ValueError('nothing to purge; name a tag="..." or a path="/..."')
        await self._store.purge(tags)
        self._metrics.purges.inc()

    async def _make(self, key: Key, seconds: float, make: Callable[[], Awaitable[T]], tags: Sequence[str]) -> Any:
        async with self._turn(key):
            found = await self._find(key)
            if found is not MISSING:
                return found
            if not self._store.shared:
                return await self._made(key, seconds, make, tags)
            lease, found = await self._leased(key)
            try:
                return await self._made(key, seconds, make, tags) if found is MISSING else found
            finally:
                if lease is not None:
                    lease.release()

    async def _made(self, key: Key, seconds: float, make: Callable[[], Awaitable[T]], tags: Sequence[str]) -> Any:
        number = self._store.number
        with self._watched(key) as begun:
            value = await make()
        frame = _frame(value)
        if len(frame) <= LARGEST_VALUE and not begun.outdated:
            await self._keep({key: frame}, seconds, tags, number)
        return value

    @contextmanager
    def _watched(self, key: Key) -> Iterator[PendingValue]:
        """Have a call that makes what is under *key* know of changes to it, as far as they are made in this process."""
        begun = PendingValue()
        calls = self._begun.setdefault(key, set())
        calls.add(begun)
        try:
            yield begun
        finally:
            calls.discard(begun)
            if not calls:
                del self._begun[key]

    def _outdate(self, keys: Iterable[Key]) -> None:
        for key in keys:
            for begun in self._begun.get(key, ()):
                begun.outdated = True

    async def _leased(self, key: Key) -> tuple[Lease | None, Any]:
        """Return the lease to make what is under *key*, or what another process has made meanwhile, or neither."""
        loop = asyncio.get_running_loop()
        end, pause = loop.time() + self._wait, FIRST_LOOK
        while True:
            lease, item = await self._store.acquire_lease(key, key, self._wait)
            found = await self._content(item)
            if lease is not None or found is not MISSING or loop.time() > end:
                return lease, found
            await asyncio.sleep(pause)
            pause = min(2 * pause, LAST_LOOK)

    @asynccontextmanager
    async def _turn(self, key: Key) -> AsyncGenerator[None, None]:
        """Wait until nobody else makes what is under *key*, for a bounded time."""
        lock, holders = self._making.setdefault(key, (asyncio.Lock(), []))
        holders.append(None)
        try:
            try:
                async with asyncio.timeout(self._wait):
                    await lock.acquire()
            except TimeoutError:
                yield
                return
            try:
                yield
            finally:
                lock.release()
        finally:
            holders.pop()
            if not holders:
                self._making.pop(key, None)

    def _key(self, key: str) -> Key:
        encoded = key.encode("utf-8", "surrogatepass")
        if not encoded or len(encoded) > LONGEST_KEY:
            raise ValueError(f"a key has 1 to {LONGEST_KEY} bytes, got {len(encoded)}")
        return (self._namespace, encoded)

    async def _find(self, key: Key) -> Any:
        item = self._store.peek(key)
        if item is None and self._store.shared:
            item = await self._store.fetch(key)
        return await self._content(item)

    async def _content(self, item: Item | None) -> Any:
        if not isinstance(item, Value) or item.expires <= self._clock():
            return MISSING
        try:
            return _value(item.frame)
        except ValueError:
            self._metrics.invalid.inc()
            await self._store.remove([item.key])
            return MISSING

    async def _keep(self, framed: Mapping[Key, bytes], seconds: float, tags: Sequence[str], number: int) -> None:
        expires, named = self._clock() + seconds, tuple(map(name_tag, tags))
        await self._store.keep([Value(key, frame, expires, named, number) for key, frame in framed.items()])


def _seconds(ttl: str | float) -> float:
    seconds = float(Duration(ttl)) if isinstance(ttl, str) else float(ttl)
    if not 0 < seconds < float("inf"):
        raise ValueError(f'expected a time such as "5m" or 300, got {ttl!r}')
    return seconds


def _frame(value: Any) -> bytes:
    if isinstance(value, bytes):
        return BYTES + value
    return JSON + encode_json(value)


def _value(frame: bytes) -> Any:
    kind, content = frame[:1], frame[1:]
    if kind == BYTES:
        return content
    if kind == JSON:
        return orjson.loads(content)
    raise ValueError(f"unknown kind {kind!r}")


def _each(names: str | Iterable[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)
