"""Store in the memory of this process: for tests and development, and for one worker."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from time import monotonic

from scalekit_idempotency.keyed_request import KeyedRequest
from scalekit_idempotency.recorded_response import RecordedResponse
from scalekit_idempotency.stores.contract import Claim, KeyInUse, Record


class MemoryClaim:
    """A claim of the key of *request* in *store*; what the application writes is not undone with it."""

    has_open_work = False

    def __init__(self, store: MemoryIdempotencyStore, request: KeyedRequest) -> None:
        self._store = store
        self._request = request

    async def commit(self, response: RecordedResponse) -> None:
        """Store *response*."""
        self._store.put(self._request, response)

    async def rollback(self) -> None:
        """Release the key."""


class MemoryIdempotencyStore:
    """Stores at most *max_keys* records for *ttl* seconds; the oldest are deleted."""

    def __init__(self, ttl: float, max_keys: int) -> None:
        self._ttl = ttl
        self._max_keys = max_keys
        self._running: set[str] = set()
        self._records: dict[str, tuple[float, Record]] = {}

    @asynccontextmanager
    async def claim(self, request: KeyedRequest) -> AsyncGenerator[Claim | Record, None]:
        """Claim the key of *request*, or return its record; raise KeyInUse while it is executed."""
        identifier = request.id
        expires, record = self._records.get(identifier, (0.0, None))
        if record is not None and expires > monotonic():
            yield record
            return
        if identifier in self._running:
            raise KeyInUse
        self._running.add(identifier)
        try:
            yield MemoryClaim(self, request)
        finally:
            self._running.discard(identifier)

    def put(self, request: KeyedRequest, response: RecordedResponse) -> None:
        """Store *response*, in place of the oldest record when there are too many."""
        self._records.pop(request.id, None)
        if len(self._records) >= self._max_keys:
            del self._records[next(iter(self._records))]
        self._records[request.id] = (monotonic() + self._ttl, Record(request.fingerprint, response))

    async def clean_up(self) -> int:
        """Delete expired records; return how many remain."""
        now = monotonic()
        while self._records:
            oldest = next(iter(self._records))  # all have the same ttl
            if self._records[oldest][0] > now:
                break
            del self._records[oldest]
        return len(self._records)

    async def check(self) -> None:
        """Do nothing: memory is available."""
