"""What a store that processes share does."""

from __future__ import annotations

from asyncio import Future
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, NamedTuple, Protocol


class ChangeListener(Protocol):
    """Hears of what other processes change in a store."""

    def begun(self) -> None:
        """Take note that from now on every change is told, and that none before was."""
        ...

    def ended(self, proved: float) -> None:
        """Take note that changes are no longer told; those until *proved*, on the monotonic clock, have been."""
        ...

    def changed(self, keys: Sequence[bytes]) -> None:
        """Take note that what is under *keys* is another, or gone."""
        ...

    def purged(self) -> None:
        """Take note that something was purged."""
        ...


class LeaseName(NamedTuple):
    """Names the right to make what is under the key *name*; *variant* tells apart what is made for one key."""

    name: bytes
    variant: bytes = b""


class SharedStore(Protocol):
    """A store that processes share. Every call has a deadline of its own; whatever it raises counts as a failure.

    Purges are numbered; a later one has a higher number, whatever was lost in between.
    """

    def start_get(self, key: bytes) -> Future[Any]:
        """Send the GET for *key* at once, without checking tag versions; :meth:`read_reply` reads the reply."""
        ...

    def read_reply(self, reply: Future[Any]) -> bytes | None:
        """Return what has come with *reply*; raises what the store raises."""
        ...

    async def get(self, keys: Sequence[bytes]) -> tuple[list[bytes | None], int]:
        """Return what is under each of *keys*, and the number of the last purge, all in one trip."""
        ...

    async def put(self, frames: Mapping[bytes, bytes], seconds: Sequence[float]) -> None:
        """Keep each of *frames* under its key for so many *seconds*."""
        ...

    def start_put(self, key: bytes, frame: bytes, seconds: float) -> Future[None]:
        """Begin at once to keep *frame* under *key*; of what is begun in one process for one key, the last stays."""
        ...

    def start_put_and_release(self, lease: LeaseName, token: bytes, frame: bytes, seconds: float) -> Future[None]:
        """Begin at once to keep *frame* under the name of *lease*, and to end that in the same step.

        It ends if *token* still has it, even where *frame* cannot be kept.
        """
        ...

    async def delete(self, keys: Sequence[bytes]) -> None:
        """Forget what is under *keys*."""
        ...

    async def number(self, deadline: float | None = None) -> int:
        """Return the number of the last purge, within *deadline* seconds where they are given."""
        ...

    async def numbers(self, tags: Sequence[bytes]) -> Sequence[int]:
        """Return the number of the last purge of each of *tags*; where none is known, that of the last forgotten."""
        ...

    async def purges(self, since: int, deadline: float) -> Mapping[bytes, int] | None:
        """Return the tags that were purged after the purge *since*, with their numbers; None when not all are known.

        That may take *deadline* seconds.
        """
        ...

    async def advance(self, tags: Sequence[bytes]) -> int:
        """Give the next number to a purge of *tags*, all at once; return it, and let all processes know."""
        ...

    def scan(self) -> AsyncGenerator[list[bytes], None]:
        """Yield the keys of all that is there, some at a time; one may come twice, and what changes may be missing."""
        ...

    async def heads(self, keys: Sequence[bytes], size: int) -> list[bytes | None]:
        """Return the first *size* bytes of what is under each of *keys*."""
        ...

    async def acquire(self, lease: LeaseName, token: bytes, seconds: float) -> tuple[bool, bytes | None]:
        """Tell whether *token* has the lease now, for so many *seconds*, and return what is there after that."""
        ...

    def release(self, lease: LeaseName, token: bytes) -> None:
        """Begin at once to end the lease, if *token* still has it; one that cannot be ended runs out."""
        ...

    def follow(self, listener: ChangeListener) -> AbstractAsyncContextManager[None]:
        """Let *listener* hear of changes while inside."""
        ...
