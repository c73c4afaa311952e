"""Interface of a store that processes share (L2)."""

from __future__ import annotations

from asyncio import Future
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, NamedTuple, Protocol


class ChangeListener(Protocol):
    """Callbacks for the changes that processes make in a shared store."""

    def on_start(self) -> None:
        """Handle that from now on every change is reported, and that none before was."""
        ...

    def on_lost(self, confirmed_until: float) -> None:
        """Handle that changes are not reported any more; those up to *confirmed_until* (monotonic clock) have been."""
        ...

    def on_change(self, keys: Sequence[bytes]) -> None:
        """Handle that *keys* were written, deleted or have expired."""
        ...

    def on_purge(self) -> None:
        """Handle that tags were purged."""
        ...


class LeaseName(NamedTuple):
    """The name of the lease to make the item *name*; *variant* separates leases for several variants of one item."""

    name: bytes
    variant: bytes = b""


class SharedStore(Protocol):
    """A store of encoded items that processes share. Every call has a timeout; any exception counts as a failure.

    Each purge has a version, which is higher than that of every purge before, even if the store has lost data.
    """

    def start_get(self, key: bytes) -> Future[Any]:
        """Send the GET for *key* at once, without a check of tag versions; :meth:`read_reply` reads the reply."""
        ...

    def read_reply(self, reply: Future[Any]) -> bytes | None:
        """Return the item in *reply*, or None; raises the exception of the store."""
        ...

    async def get_many(self, keys: Sequence[bytes]) -> tuple[list[bytes | None], int]:
        """Return the items under *keys*, and the version of the last purge, in one round trip."""
        ...

    async def put_many(self, items: Mapping[bytes, bytes], ttls: Sequence[float]) -> None:
        """Store each of *items* under its key for its TTL in seconds."""
        ...

    def start_put(self, key: bytes, data: bytes, ttl: float) -> Future[None]:
        """Send the SET of *data* at once; the last write of one process to a key wins."""
        ...

    def start_put_and_release(self, lease: LeaseName, token: bytes, data: bytes, ttl: float) -> Future[None]:
        """Store *data* under the name of *lease* and release the lease in one step, sent at once.

        The lease is released if *token* holds it, even when *data* cannot be stored.
        """
        ...

    async def delete(self, keys: Sequence[bytes]) -> None:
        """Delete *keys*."""
        ...

    async def version(self, timeout: float | None = None) -> int:
        """Return the version of the last purge; *timeout* in seconds replaces the default."""
        ...

    async def tag_versions(self, tags: Sequence[bytes]) -> Sequence[int]:
        """Return the version of the last purge of each of *tags*, at least that of the tag dropped last."""
        ...

    async def purges_after(self, version: int, timeout: float) -> Mapping[bytes, int] | None:
        """Return the tags purged after *version* with their versions; None when not all are known any more.

        The query may take *timeout* seconds.
        """
        ...

    async def purge(self, tags: Sequence[bytes]) -> int:
        """Assign the next version to *tags*, atomically; return it, and notify all processes."""
        ...

    def scan(self) -> AsyncGenerator[list[bytes], None]:
        """Yield all keys in batches; a key may be repeated, and keys written meanwhile may be missing."""
        ...

    async def get_heads(self, keys: Sequence[bytes], size: int) -> list[bytes | None]:
        """Return the first *size* bytes of the items under *keys*."""
        ...

    async def acquire_lease(self, lease: LeaseName, token: bytes, ttl: float) -> tuple[bool, bytes | None]:
        """Acquire *lease* for *ttl* seconds; return whether *token* holds it, and the item as read after that."""
        ...

    def release_lease(self, lease: LeaseName, token: bytes) -> None:
        """Release the lease if *token* holds it, sent at once; a failure leaves it to expire."""
        ...

    def subscribe(self, listener: ChangeListener) -> AbstractAsyncContextManager[None]:
        """Report changes to *listener* while inside."""
        ...
