"""What the filter needs of a store."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from scalekit_idempotency.keyed_request import KeyedRequest
from scalekit_idempotency.recorded_response import RecordedResponse


class KeyInUse(Exception):
    """Another request with the key is executed, or was meanwhile."""


@dataclass(frozen=True, slots=True)
class Record:
    """The response to the request with *fingerprint*."""

    fingerprint: str
    response: RecordedResponse


class Claim(Protocol):
    """The right to execute a request; it ends with the block that it was claimed in."""

    @property
    def has_open_work(self) -> bool:
        """Whether the application has an open transaction or session, which the claim would roll back."""
        ...

    async def commit(self, response: RecordedResponse) -> None:
        """Store *response*, in a database together with the writes of the request; raise KeyInUse when it cannot."""
        ...

    async def rollback(self) -> None:
        """Release the key, and undo the writes of the request in a database."""
        ...


class IdempotencyStore(Protocol):
    """Stores one record for each key and subject."""

    def claim(self, request: KeyedRequest) -> AbstractAsyncContextManager[Claim | Record]:
        """Return the claim of *request*, or the record of an earlier one; raise KeyInUse while that is executed.

        Leaving the block rolls back a claim that was not committed.
        """
        ...

    async def clean_up(self) -> int:
        """Delete expired records, and the oldest beyond the limit; return the number of records that remain."""
        ...

    async def check(self) -> None:
        """Raise an error when the store is unavailable."""
        ...
