"""Store in the memory of this process: for tests and development, and for one worker."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from time import monotonic

from scalekit_idempotency.keyed_request import KeyedRequest
from scalekit_idempotency.recorded_response import RecordedResponse
from scalekit_idempotency.stores.contract import Claim, KeyInUse, Record

RECORD_BYTES = 1024
"""Bytes that a record counts beside body and headers, the ids and containers among them."""
HEADER_BYTES = 150
"""Bytes that a header counts beside name and value."""


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
    """Stores at most *max_keys* records of *max_bytes* together for *ttl* seconds; the oldest are deleted."""

    def __init__(self, ttl: float, max_keys: int, max_bytes: int = sys.maxsize) -> None:
        self._ttl = ttl
        self._max_keys = max_keys
        self._max_bytes = max_bytes
        self._bytes = 0
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
        """Store *response*, in place of the oldest records when there are too many, or too many bytes."""
        if request.id in self._records:
            self._delete(request.id)
        record = Record(request.fingerprint, response)
        self._bytes += _size(record)
        self._records[request.id] = (monotonic() + self._ttl, record)
        while len(self._records) > self._max_keys or (self._bytes > self._max_bytes and len(self._records) > 1):
            self._delete(next(iter(self._records)))

    async def clean_up(self) -> int:
        """Delete expired records; return how many remain."""
        now = monotonic()
        while self._records:
            oldest = next(iter(self._records))  # all have the same ttl
            if self._records[oldest][0] > now:
                break
            self._delete(oldest)
        return len(self._records)

    async def check(self) -> None:
        """Do nothing: memory is available."""

    def _delete(self, identifier: str) -> None:
        _, record = self._records.pop(identifier)
        self._bytes -= _size(record)


def _size(record: Record) -> int:
    response = record.response
    headers = sum(len(name) + len(value) + HEADER_BYTES for name, value in response.headers)
    return RECORD_BYTES + headers + len(response.body)
