"""Key-value cache for applications: values are bytes or JSON, so that reading one never executes code."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

import orjson

from scalekit import Duration, encode_json
from scalekit.contracts import TTL
from scalekit_caching.items import Item, Key, Value
from scalekit_caching.lease import Lease
from scalekit_caching.metrics import CachingMetrics
from scalekit_caching.store import Store
from scalekit_caching.tags import name_tag, path_tag

T = TypeVar("T")

BYTES = b"b"
JSON = b"j"
NAMESPACE = b"object"
"""First part of the keys of values."""
MAX_KEY = 1024
"""Longest key in bytes."""
MAX_VALUE = 16 * 1024 * 1024
"""Largest value in bytes; a larger one would delay other commands to the shared store."""
MISSING = object()
MIN_POLL_INTERVAL, MAX_POLL_INTERVAL = 0.005, 0.1
"""Seconds between two lookups of a value that another process makes; the interval doubles between these bounds."""


class PendingValue:
    """A call that makes a value; *outdated* is set when the value is set or deleted meanwhile."""

    outdated = False


class ValueCache:
    """Values in *store*. A missing value is made once (single flight); caches of one store differ in *namespace*."""

    def __init__(
        self,
        store: Store,
        metrics: CachingMetrics,
        clock: Callable[[], float],
        coalesce_timeout: float,
        namespace: bytes = b"",
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._clock = clock
        self._coalesce_timeout = coalesce_timeout
        self._namespace = namespace + NAMESPACE
        self._locks: dict[Key, tuple[asyncio.Lock, list[None]]] = {}
        self._pending: dict[Key, set[PendingValue]] = {}

    async def get(self, key: str, default: Any = None) -> Any:
        """Return the value under *key*, or *default*."""
        found = await self._find(self._key(key))
        (self._metrics.value_miss if found is MISSING else self._metrics.value_hit).inc()
        return default if found is MISSING else found

    async def get_many(self, keys: Sequence[str]) -> dict[str, Any]:
        """Return the values under *keys*, without the missing ones."""
        items = await self._store.get_many([self._key(key) for key in keys])
        found = {key: await self._decode(item) for key, item in zip(keys, items, strict=True)}
        present = {key: value for key, value in found.items() if value is not MISSING}
        self._metrics.value_hit.inc(len(present))
        self._metrics.value_miss.inc(len(found) - len(present))
        return present

    async def set(self, key: str, value: Any, ttl: str | float = TTL, tags: Sequence[str] = ()) -> None:
        """Store *value* under *key* for *ttl*, in seconds or as a duration such as ``"5m"``."""
        await self.set_many({key: value}, ttl, tags)

    async def set_many(self, values: Mapping[str, Any], ttl: str | float = TTL, tags: Sequence[str] = ()) -> None:
        """Store all of *values* by key for *ttl*."""
        payloads, seconds = {self._key(key): _encode_value(value) for key, value in values.items()}, _seconds(ttl)
        for key, payload in zip(values, payloads.values(), strict=True):
            if len(payload) > MAX_VALUE:
                raise ValueError(
                    f"the value of {key!r} has {len(payload)} bytes, more than {MAX_VALUE}; store it elsewhere"
                )
        version = await self._store.current_version() if tags else self._store.version
        self._outdate(payloads)
        await self._put(payloads, seconds, tags, version)

    async def delete(self, *keys: str) -> None:
        """Delete the values under *keys*."""
        whole = [self._key(key) for key in keys]
        self._outdate(whole)
        await self._store.delete(whole)

    async def get_or_set(
        self, key: str, ttl: str | float, make: Callable[[], Awaitable[T]], tags: Sequence[str] = ()
    ) -> T:
        """Return the value under *key*; on a miss await *make* once for all concurrent callers and store its result."""
        whole, seconds = self._key(key), _seconds(ttl)
        found = await self._find(whole)
        if found is MISSING:
            self._metrics.value_miss.inc()
            found = await self._make_once(whole, seconds, make, tags)
        else:
            self._metrics.value_hit.inc()
        value: T = found
        return value

    async def purge(self, *, tag: str | Iterable[str] = (), path: str | Iterable[str] = ()) -> None:
        """Purge all responses and values with one of the tags, and the responses of the paths."""
        tags = [name_tag(each) for each in _listed(tag)] + [path_tag(each) for each in _listed(path)]
        if not tags:
            raise ValueError('nothing to purge: pass a tag="..." or a path="/..."')
        await self._store.purge(tags)
        self._metrics.purges.inc()

    async def _make_once(self, key: Key, seconds: float, make: Callable[[], Awaitable[T]], tags: Sequence[str]) -> Any:
        async with self._local_lock(key):
            found = await self._find(key)
            if found is not MISSING:
                return found
            if not self._store.shared:
                return await self._make(key, seconds, make, tags)
            lease, found = await self._wait_for_lease(key)
            try:
                return await self._make(key, seconds, make, tags) if found is MISSING else found
            finally:
                if lease is not None:
                    lease.release()

    async def _make(self, key: Key, seconds: float, make: Callable[[], Awaitable[T]], tags: Sequence[str]) -> Any:
        version = self._store.version
        with self._watching_changes(key) as pending:
            value = await make()
        payload = _encode_value(value)
        if len(payload) <= MAX_VALUE and not pending.outdated:
            await self._put({key: payload}, seconds, tags, version)
        return value

    @contextmanager
    def _watching_changes(self, key: Key) -> Iterator[PendingValue]:
        """Mark the pending value as outdated when this process sets or deletes *key* while inside."""
        pending = PendingValue()
        calls = self._pending.setdefault(key, set())
        calls.add(pending)
        try:
            yield pending
        finally:
            calls.discard(pending)
            if not calls:
                del self._pending[key]

    def _outdate(self, keys: Iterable[Key]) -> None:
        for key in keys:
            for pending in self._pending.get(key, ()):
                pending.outdated = True

    async def _wait_for_lease(self, key: Key) -> tuple[Lease | None, Any]:
        """Return the lease to make *key*, or the value that another process has made meanwhile, or neither."""
        loop = asyncio.get_running_loop()
        end, interval = loop.time() + self._coalesce_timeout, MIN_POLL_INTERVAL
        while True:
            lease, item = await self._store.acquire_lease(key, key, self._coalesce_timeout)
            found = await self._decode(item)
            if lease is not None or found is not MISSING or loop.time() > end:
                return lease, found
            await asyncio.sleep(interval)
            interval = min(2 * interval, MAX_POLL_INTERVAL)

    @asynccontextmanager
    async def _local_lock(self, key: Key) -> AsyncGenerator[None, None]:
        """Hold the lock of *key* in this process, or go on without it after the coalesce timeout."""
        lock, holders = self._locks.setdefault(key, (asyncio.Lock(), []))
        holders.append(None)
        try:
            try:
                async with asyncio.timeout(self._coalesce_timeout):
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
                self._locks.pop(key, None)

    def _key(self, key: str) -> Key:
        encoded = key.encode("utf-8", "surrogatepass")
        if not encoded or len(encoded) > MAX_KEY:
            raise ValueError(f"a key must have 1 to {MAX_KEY} bytes, got {len(encoded)}")
        return (self._namespace, encoded)

    async def _find(self, key: Key) -> Any:
        item = self._store.peek(key)
        if item is None and self._store.shared:
            item = await self._store.get(key)
        return await self._decode(item)

    async def _decode(self, item: Item | None) -> Any:
        if not isinstance(item, Value) or item.expires <= self._clock():
            return MISSING
        try:
            return _decode_value(item.payload)
        except ValueError:
            self._metrics.corrupt.inc()
            await self._store.delete([item.key])
            return MISSING

    async def _put(self, payloads: Mapping[Key, bytes], seconds: float, tags: Sequence[str], version: int) -> None:
        expires, named = self._clock() + seconds, tuple(map(name_tag, tags))
        await self._store.put_many([Value(key, payload, expires, named, version) for key, payload in payloads.items()])


def _seconds(ttl: str | float) -> float:
    seconds = float(Duration(ttl)) if isinstance(ttl, str) else float(ttl)
    if not 0 < seconds < float("inf"):
        raise ValueError(f'ttl must be a positive duration such as "5m" or 300, got {ttl!r}')
    return seconds


def _encode_value(value: object) -> bytes:
    if isinstance(value, bytes):
        return BYTES + value
    return JSON + encode_json(value)


def _decode_value(payload: bytes) -> Any:
    kind, content = payload[:1], payload[1:]
    if kind == BYTES:
        return content
    if kind == JSON:
        return orjson.loads(content)
    raise ValueError(f"unknown kind {kind!r}")


def _listed(names: str | Iterable[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)
