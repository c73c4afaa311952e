"""The HTTP cache of one process: its store, its rules, and the answers that are being made."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Protocol

from scalekit_cache.cache_status import NotStored
from scalekit_cache.credentials import CREDENTIAL_HEADERS, HeaderRoles, SpecialHeaders
from scalekit_cache.keys import canonical_query
from scalekit_cache.metrics import CacheMetrics
from scalekit_cache.policies import CachePolicies
from scalekit_cache.request import NOTED, CacheRequest
from scalekit_cache.requester import CredentialsCache
from scalekit_cache.route_parameters import RouteInspector
from scalekit_cache.single_flight import Flight
from scalekit_cache.storability import StoragePolicies, StorageRules
from scalekit_cache.stored_response import StoredResponse, Variants
from scalekit_caching.items import Item, Key
from scalekit_caching.store import Store
from scalekit_caching.tags import path_tags

REMEMBERED = 4096
"""Keys of answers that were not for sharing, for which nobody waits the next time."""
MOST_REFRESHES = 64
"""Answers that are made anew in the background at one time."""


@dataclass(frozen=True)
class CacheOptions:
    """What the file says of the HTTP cache; times are in seconds."""

    name: bytes
    max_body: int
    coalesce_timeout: float
    refresh_timeout: float
    cookies_are_private: bool
    sort_query: bool
    rules: StorageRules
    tags_from_sql: bool = False
    credential_headers: tuple[str, ...] = CREDENTIAL_HEADERS


class Place(Protocol):
    """Where a resource is."""

    @property
    def key(self) -> Key:
        """What its answers are found by."""
        ...

    @property
    def path(self) -> str:
        """What they can be purged by."""
        ...


@dataclass(frozen=True)
class RefreshResult:
    """How making an answer anew went: what is kept now, whether it *failed*, or why it must not be kept.

    It was *begun* at that moment, for a request by whose values it is *selecting*; *error* is what the application
    raised.
    """

    entry: StoredResponse | None
    failed: bool
    refusal: NotStored | None
    begun: int
    selecting: tuple[bytes, ...]
    error: Exception | None


class HttpCache:
    """Finds and keeps answers; one that is being made is made once."""

    def __init__(
        self,
        store: Store,
        policies: CachePolicies,
        options: CacheOptions,
        metrics: CacheMetrics,
        clock: Callable[[], float],
    ) -> None:
        self.store = store
        self.policies = policies
        self.options = options
        self.metrics = metrics
        self.clock = clock
        self.name = options.name
        self.collects = options.tags_from_sql
        self.max_body = options.max_body
        self.rulings = StoragePolicies(options.rules)
        self.meanings = HeaderRoles(NOTED, options.credential_headers)
        self.asks_more = SpecialHeaders(self.meanings)
        self.routes = RouteInspector(self.meanings)
        self.requesters = CredentialsCache(options.cookies_are_private)
        self.plain_queries = not policies.reshape_queries
        self.moments = count(1)
        """Numbers for moments in the life of requests, in the order in which they come."""
        self._said: dict[tuple[bytes, int, bytes], bytes] = {}
        self._flights: dict[Key, Flight] = {}
        self._alone: dict[Key, None] = {}
        self._most_refreshes = MOST_REFRESHES
        self._refreshes: dict[Key, asyncio.Task[RefreshResult]] = {}

    def peek(self, primary: Key, asked: CacheRequest) -> StoredResponse | Variants | None:
        """Return what the process has for who *asked*; Variants when it has other answers of the resource only."""
        found = self.store.peek(primary)
        if type(found) is Variants:
            found = self.store.peek((found.token, *asked.selecting(found.names))) or found
        return found if isinstance(found, StoredResponse | Variants) else None

    async def fetch(self, primary: Key, asked: CacheRequest) -> StoredResponse | Variants | None:
        """Return the same from wherever the store has it."""
        found = await self.store.fetch(primary)
        if type(found) is Variants:
            found = await self.variant(found, asked) or found
        return found if isinstance(found, StoredResponse | Variants) else None

    async def variant(self, variants: Variants, asked: CacheRequest) -> Item | None:
        """Return the one of *variants* that is *asked* for, from wherever the store has it."""
        return await self.store.fetch((variants.token, *asked.selecting(variants.names)))

    def said(self, why: bytes, status: int, outcome: bytes) -> bytes:
        """Return what ``Cache-Status`` says of an answer with *status* that the application had to be asked for.

        The *outcome* is STORED, the value of a refusal, or empty where it shows only at the end.
        """
        known = self._said.get((why, status, outcome))
        if known is None:
            known = b"%b; %b; fwd-status=%d%b" % (self.name, why, status, outcome)
            self._said[why, status, outcome] = known
        return known

    def reshape(self, flight: Flight, path: str, query: frozenset[bytes]) -> None:
        """Let what *flight* makes, and all later requests for *path*, be found by the parameters *query* only."""
        host, raw_path, whole, *rest = flight.primary
        if self.policies.remember_query(path, raw_path, query):
            self.plain_queries = False
            flight.primary = (host, raw_path, canonical_query(whole, query, self.options.sort_query), *rest)

    def keep(self, entry: StoredResponse, flight: Flight, asked: CacheRequest) -> StoredResponse:
        """Keep *entry* under the primary key of its *flight*, or beside others that vary by the same names."""
        existing = self.store.held(flight.primary)
        names = entry.ruling.names
        if type(existing) is Variants:
            names = tuple(sorted({*names, *existing.names}))
        entry.key = flight.primary
        if names:
            if type(existing) is not Variants or existing.names != names:
                existing = Variants(flight.primary, names, os.urandom(16))
                self.store.put(existing)
            entry.key = (existing.token, *asked.selecting(names))
        flight.written = self.store.put(entry, flight.lease)
        if self._alone:
            self._alone.pop(flight.key, None)
        return entry

    async def forget(self, places: Sequence[Place]) -> None:
        """Forget the answers of *places*, and what is being made of them: who waits for that looks again.

        Where processes share them, one may be on its way to the store from any of them, which only a purge reaches.
        """
        keys = [place.key for place in places]
        wrong = [flight for flight in self._flights.values() if flight.primary in keys]
        for flight in wrong:
            flight.outdated = True
            self.leave(flight)
        await self.store.remove(keys)
        if self.store.shared:
            try:
                await self.store.purge([path_tags(place.path)[0] for place in places])
            except Exception as error:
                self.metrics.failed(type(error).__name__)
        for flight in wrong:
            flight.land()

    def flight(self, key: Key, primary: Key) -> tuple[Flight, bool]:
        """Return the flight in which what is missing under *key* is made, and whether the caller leads it."""
        flight = self._flights.get(key)
        if flight is not None:
            return flight, False
        shared = key not in self._alone
        flight = Flight(key, primary, self.store.number, self.max_body, shared)
        if shared:
            self._flights[key] = flight
        return flight, True

    def is_current(self, flight: Flight, known: int) -> bool:
        """Tell whether what is made in *flight* is good for who came when *known* was the number of the last purge."""
        if flight.outdated:
            return False
        if flight.since == known:  # what was purged later may be purged after they were answered just as well
            return True
        tags = flight.tags if flight.tables is None else flight.tables.tags_beside(flight.tags)
        return tags is not None and not self.store.purged(tags, flight.since)

    def part(self, flight: Flight) -> None:
        """Take note that what is made in *flight* is for its leader only, and remember it."""
        self.landed(flight)
        if flight.outdated:
            flight.land()
            return
        if flight.open:
            self._remember_alone(flight.key)
        flight.part()

    def leave(self, flight: Flight) -> None:
        """Take note that what is made in *flight* is good for nobody new: another may be begun, in any process."""
        self.landed(flight)

    def outgrown(self, flight: Flight) -> None:
        """Take note that what is made in *flight* is too large to be kept, and so is the next under its key."""
        if self._flights.get(flight.key) is flight:
            self._remember_alone(flight.key)
        self.landed(flight)

    def landed(self, flight: Flight) -> None:
        """Take note that nobody new may join *flight*, here or in another process."""
        flight.release()
        if self._flights.get(flight.key) is flight:
            del self._flights[flight.key]

    def _remember_alone(self, key: Key) -> None:
        if len(self._alone) >= REMEMBERED:
            self._alone.clear()
        self._alone[key] = None

    def refresh(
        self, key: Key, make: Callable[[], Coroutine[Any, Any, RefreshResult]]
    ) -> asyncio.Task[RefreshResult] | None:
        """Have what is under *key* made anew in the background, once; return the task, None when too many run."""
        task = self._refreshes.get(key)
        if task is None and len(self._refreshes) < self._most_refreshes:
            task = self._refreshes[key] = asyncio.create_task(make())
            task.add_done_callback(lambda done: self._refreshes.pop(key, None))
        return task

    def drain(self) -> None:
        """Begin no more refreshes: the application ends before the cache does."""
        self._most_refreshes = 0

    async def close(self) -> None:
        """End what runs in the background."""
        tasks = list(self._refreshes.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
