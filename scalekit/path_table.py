"""Values by path: the first pattern that matches decides."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

from scalekit.path_glob import Matches, PathGlob

T = TypeVar("T")


class PathTable(Generic[T]):
    """Values by path pattern; *default* is that of paths which no pattern of *entries* matches."""

    def __init__(self, default: T, entries: Iterable[tuple[PathGlob, T]] = ()) -> None:
        self._default = default
        self._entries: list[tuple[Matches, T]] = [(glob.matches, value) for glob, value in entries]
        self.single: T | None = None if self._entries else default
        """The value of every path, or None when the path decides."""

    def find(self, path: str) -> T:
        """Return the value of *path*."""
        for matches, value in self._entries:
            if matches(path):
                return value
        return self._default
