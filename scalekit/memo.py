"""Remember what was computed: by two arguments, such as a path and a method, or in the object that it belongs to."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

A = TypeVar("A")
B = TypeVar("B")
V = TypeVar("V")

MAX_KEYS = 4096


class Memo(dict[tuple[A, B], V]):
    """The values that *make* returns, by both of its arguments; it forgets all when it is full."""

    def __init__(self, make: Callable[[A, B], V]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, key: tuple[A, B]) -> V:
        if len(self) >= MAX_KEYS:
            self.clear()
        found = self[key] = self._make(*key)
        return found


if TYPE_CHECKING:
    from functools import cached_property

    computed_once = cached_property
else:

    class computed_once:  # noqa: N801 - used as property is
        """An attribute that *compute* computes when it is first read: without the lock of functools.cached_property."""

        def __init__(self, compute: Callable[[Any], Any]) -> None:
            self._compute = compute
            self._name = compute.__name__
            self.__doc__ = compute.__doc__

        def __get__(self, instance: Any, owner: Any = None) -> Any:
            if instance is None:
                return self
            value = instance.__dict__[self._name] = self._compute(instance)
            return value
