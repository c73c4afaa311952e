from __future__ import annotations

from struct import pack, unpack

from hypothesis import given
from hypothesis import strategies as st

from scalekit_pool.mysql.result import shortest_float


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_float_is_shown_as_it_was_written_and_stored_as_it_was(stored: float) -> None:
    shown = shortest_float(stored)
    assert pack("f", shown) == pack("f", stored)
    assert len(repr(shown)) <= len(repr(stored))


def test_a_float_has_the_digits_that_were_written() -> None:
    for written in (0.1, 3.14159, 16777216.0, 1e-7, -2.5, 0.0):
        (stored,) = unpack("f", pack("f", written))
        assert shortest_float(stored) == written
