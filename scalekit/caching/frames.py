"""What a store that processes share does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Frames(Protocol):
    """A store that processes share. Every call has a deadline of its own; whatever it raises counts as a failure."""

    async def get(self, key: bytes) -> bytes | None:
        """Return what is under *key*."""
        ...

    async def put(self, key: bytes, frame: bytes, seconds: float) -> None:
        """Keep *frame* under *key* for so many *seconds*."""
        ...

    async def delete(self, keys: Sequence[bytes]) -> None:
        """Forget what is under *keys*."""
        ...

    async def numbers(self, tags: Sequence[bytes]) -> Sequence[int]:
        """Return the number of the last purge of each of *tags*, 0 where there was none."""
        ...

    async def advance(self, tags: Sequence[bytes]) -> int:
        """Give the next number to a purge of *tags*, all at once; return it, and let all processes know."""
        ...

    async def acquire(self, key: bytes, seconds: float) -> bytes | None:
        """Return a token when nobody has the lease of *key*, which lasts so many *seconds*."""
        ...

    async def release(self, key: bytes, token: bytes) -> None:
        """End the lease of *key*, if *token* still has it."""
        ...
