from __future__ import annotations

from decimal import Decimal
from struct import pack, unpack

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scalekit_pool.mysql.result import row_class, shortest_float


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
@example(999999995904.0)
def test_a_float_is_shown_as_it_was_written_and_stored_as_it_was(stored: float) -> None:
    shown = shortest_float(stored)
    assert pack("f", shown) == pack("f", stored)
    assert significant_digits(shown) <= significant_digits(stored)


def significant_digits(number: float) -> int:
    return len(Decimal(repr(number)).normalize().as_tuple().digits)


def test_a_float_has_the_digits_that_were_written() -> None:
    for written in (0.1, 3.14159, 16777216.0, 1e-7, -2.5, 0.0):
        (stored,) = unpack("f", pack("f", written))
        assert shortest_float(stored) == written


def test_a_row_is_read_by_name_place_and_attribute() -> None:
    row = row_class(("id", "count", "index", "keys", "a b"))([1, 2, 3, 4, 5])
    assert [row["count"], row[1], row[-1], row.id, row.count, row.index, row["keys"], row["a b"]] == [
        2,
        2,
        5,
        1,
        2,
        3,
        4,
        5,
    ]
    assert (list(row), len(row), list(row.keys())) == ([1, 2, 3, 4, 5], 5, ["id", "count", "index", "keys", "a b"])
    assert dict(row) == dict(row._mapping) == {"id": 1, "count": 2, "index": 3, "keys": 4, "a b": 5}
    assert repr(row) == "<Row {'id': 1, 'count': 2, 'index': 3, 'keys': 4, 'a b': 5}>"
    assert row[1:3] == (2, 3)
    with pytest.raises(AttributeError, match="absent"):
        _ = row.absent
    with pytest.raises(KeyError, match="absent"):
        _ = row["absent"]
    with pytest.raises(IndexError):
        _ = row[5]


def test_columns_of_one_name_are_read_by_place() -> None:
    row = row_class(("id", "id"))([1, 2])
    assert (row["id"], row[0], list(row)) == (2, 1, [1, 2])
