"""Leases: the right of one process to make a missing item (single flight over processes)."""

from __future__ import annotations

import asyncio
from typing import Protocol

from scalekit_caching.shared_store import LeaseName, SharedStore


class Lease(Protocol):
    """The right to make a missing item, among all processes that share a store."""

    def release(self, after: asyncio.Future[None] | None = None) -> None:
        """Release the lease once *after* is done, so that other processes need not wait until it expires."""
        ...


class NoLease:
    """The lease of a process that shares its store with no other, or whose shared store is unavailable."""

    def release(self, after: asyncio.Future[None] | None = None) -> None:
        """Do nothing."""


class StoreLease:
    """A *lease* that *token* holds in *shared_store*."""

    __slots__ = ("_put", "_shared_store", "lease", "token")

    def __init__(self, shared_store: SharedStore, lease: LeaseName, token: bytes) -> None:
        self._shared_store = shared_store
        self.lease = lease
        self.token = token
        self._put: asyncio.Future[None] | None = None

    def put_and_release(self, data: bytes, ttl: float) -> asyncio.Future[None]:
        """Store the item *data* for *ttl* seconds and release the lease in one step."""
        self._put = self._shared_store.start_put_and_release(self.lease, self.token, data, ttl)
        return self._put

    def release(self, after: asyncio.Future[None] | None = None) -> None:
        """Release the lease once the write *after* is done, so that the next holder finds the item."""
        if self._put is not None:
            self._put.add_done_callback(self._release_if_failed)
        elif after is None or after.done():
            self._shared_store.release_lease(self.lease, self.token)
        else:
            after.add_done_callback(lambda done: self._shared_store.release_lease(self.lease, self.token))

    def _release_if_failed(self, write: asyncio.Future[None]) -> None:
        if write.cancelled() or write.exception() is not None:
            self._shared_store.release_lease(self.lease, self.token)
