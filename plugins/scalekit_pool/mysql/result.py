"""Rows of asyncmy's results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from struct import pack
from typing import Any, ClassVar

from asyncmy.constants import FIELD_TYPE

from scalekit.contracts import Row
from scalekit_pool.connections.driver import Untyped, Value

MAX_CLASSES = 1000
FLOAT_DIGITS = range(6, 10)
"""Decimal digits that may be needed to tell a FLOAT, of 32 bits, from the next one."""


class MysqlRow(tuple[Value, ...]):
    """A row; each sequence of column names has a class of its own, so that a row is made as fast as a tuple."""

    __slots__ = ()
    _names: ClassVar[Sequence[str]] = ()
    _places: ClassVar[Mapping[str, int]] = {}

    def __getitem__(self, key: Any) -> Value:
        return tuple.__getitem__(self, self._places[key] if isinstance(key, str) else key)

    def __getattr__(self, name: str) -> Value:
        try:
            return tuple.__getitem__(self, self._places[name])
        except KeyError:
            raise AttributeError(name) from None

    def __repr__(self) -> str:
        return f"<Row {dict(zip(self._names, self, strict=True))}>"

    def keys(self) -> Sequence[str]:
        """Return the names of the columns."""
        return list(self._names)

    @property
    def _mapping(self) -> Mapping[str, Value]:
        return dict(zip(self._names, self, strict=True))


@lru_cache(MAX_CLASSES)
def row_class(names: Sequence[str]) -> Callable[[Sequence[Value]], MysqlRow]:
    """Return the class of rows with the columns *names*, a tuple."""
    places = {name: place for place, name in enumerate(names)}
    members: dict[str, Any] = {"__slots__": (), "_names": names, "_places": places}
    members |= {name: property(itemgetter(places[name])) for name in ("count", "index") if name in places}
    return type("MysqlRow", (MysqlRow,), members)


def rows_of(result: Untyped) -> list[Row]:
    """Return the rows of *result*; none for a statement without rows."""
    if not result.rows:
        return []
    names = tuple([column[0] for column in result.description])
    return list(map(row_class(names), tuples_of(result)))


def tuples_of(result: Untyped) -> list[Sequence[Value]]:
    """Return the values of the rows of *result*, for those who know the columns; none for a statement without rows."""
    if not result.rows:
        return []
    floats = [place for place, column in enumerate(result.description) if column[1] == FIELD_TYPE.FLOAT]
    return [_with_floats(row, floats) for row in result.rows] if floats else list(result.rows)


def value_of(result: Untyped) -> Value:
    """Return the first value of the first row; without rows the key that was generated, else the number of rows."""
    if result.description is None:
        return result.insert_id or result.affected_rows
    rows = rows_of(result)
    return rows[0][0] if rows else None


def _with_floats(values: Sequence[Value], floats: Sequence[int]) -> Sequence[Value]:
    changed = list(values)
    for place in floats:
        if changed[place] is not None:
            changed[place] = shortest_float(changed[place])
    return changed


def shortest_float(value: float) -> float:
    """Return the shortest decimal number that a FLOAT stores as *value*: 0.1, which it stores as 0.10000000149."""
    stored = pack("f", value)
    found = value
    for digits in FLOAT_DIGITS:
        found = float(f"{value:.{digits}g}")
        if pack("f", found) == stored:
            break
    return found
