"""Values by path: the first pattern that matches decides."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

from scalekit.config.path_glob import Matches, PathGlob, path_variants

T = TypeVar("T")

MAX_PATHS = 1024
"""Paths whose values a table stores; all are removed when it has that many."""
MAX_PATH_LENGTH = 256
"""Characters of the longest path whose value is stored."""


class PathTable(Generic[T]):
    """Values by path pattern; *default* is that of paths which no pattern of *entries* matches.

    Patterns match the path and its normalized variant, as ``path_variants`` returns them.
    """

    def __init__(self, default: T, entries: Iterable[tuple[PathGlob, T]] = ()) -> None:
        self._default = default
        self._entries: list[tuple[Matches, T]] = [(glob.matches, value) for glob, value in entries]
        self._values: dict[str, T] = {}
        self.single: T | None = None if self._entries else default
        """The value of every path, or None when the path decides."""

    def find(self, path: str) -> T:
        """Return the value of *path*."""
        try:
            return self._values[path]
        except KeyError:
            value = self._value(path)
        if self._entries and len(path) <= MAX_PATH_LENGTH:
            if len(self._values) >= MAX_PATHS:
                self._values.clear()
            self._values[path] = value
        return value

    def _value(self, path: str) -> T:
        variants = path_variants(path) if self._entries else ()
        for matches, value in self._entries:
            if any(map(matches, variants)):
                return value
        return self._default
