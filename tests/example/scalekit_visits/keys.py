"""The keys of the resources that this plugin provides."""

from __future__ import annotations

from typing import Protocol

from scalekit import Key


class Visits(Protocol):
    """The visits of each client."""

    def add(self, name: str) -> int:
        """Increment the count of *name* and return it."""
        ...

    def top(self, count: int) -> list[tuple[str, int]]:
        """Return the *count* names seen most often, with their numbers."""
        ...

    def check(self) -> None:
        """Raise RuntimeError when counts are incomplete."""
        ...


VISITS: Key[Visits] = Key("visits", plugin="visits")
