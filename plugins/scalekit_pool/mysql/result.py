"""Rows of asyncmy's results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from struct import pack

from asyncmy.constants import FIELD_TYPE

from scalekit.contracts import Row
from scalekit_pool.connections.driver import Untyped, Value
from scalekit_pool.rows import NamedRow

FLOAT_DIGITS = range(6, 10)
"""Decimal digits that may be needed to tell a FLOAT, of 32 bits, from the next one."""


def row_maker(result: Untyped) -> Callable[[Sequence[Value]], Row]:
    """Return the function that makes a row of the values of one row of *result*."""
    names = [column[0] for column in result.description]
    places = {name: place for place, name in enumerate(names)}
    floats = [place for place, column in enumerate(result.description) if column[1] == FIELD_TYPE.FLOAT]
    if floats:
        return lambda values: NamedRow(_with_floats(values, floats), names, places)
    return lambda values: NamedRow(values, names, places)


def rows_of(result: Untyped) -> list[Row]:
    """Return the rows of *result*; none for a statement without rows."""
    return list(map(row_maker(result), result.rows)) if result.rows else []


def value_of(result: Untyped) -> Value:
    """Return the first value of the first row; without rows the key that was generated, else the number of rows."""
    if result.description is None:
        return result.insert_id or result.affected_rows
    return row_maker(result)(result.rows[0])[0] if result.rows else None


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
