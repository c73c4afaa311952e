"""Memoize a function of two arguments, such as a path and a method, up to a maximum size."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")
V = TypeVar("V")

MAX_KEYS = 4096


class Memo(dict[tuple[A, B], V]):
    """Results of *make* by its two arguments; cleared when it holds MAX_KEYS."""

    def __init__(self, make: Callable[[A, B], V]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, key: tuple[A, B]) -> V:
        if len(self) >= MAX_KEYS:
            self.clear()
        found = self[key] = self._make(*key)
        return found
