from __future__ import annotations

import pytest

from scalekit.pages import Unit
from scalekit_console.formats import DASH, format_number


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (1234567, Unit.NONE, "1,234,567"),
        (0.12345, Unit.NONE, "0.123"),
        (None, Unit.BYTES, DASH),
        (float("nan"), Unit.SECONDS, DASH),
        (0, Unit.SECONDS, "0 s"),
        (0.0000425, Unit.SECONDS, "42.5 µs"),
        (0.0009996, Unit.SECONDS, "1 ms"),
        (0.0009994, Unit.SECONDS, "999 µs"),
        (0.0123, Unit.SECONDS, "12.3 ms"),
        (1.5, Unit.SECONDS, "1.5 s"),
        (90061, Unit.SECONDS, "1 d 1 h"),
        (1023, Unit.BYTES, "1,023 B"),
        (1536, Unit.BYTES, "1.5 KiB"),
        (5 * 2**30, Unit.BYTES, "5 GiB"),
        (2**60, Unit.BYTES, "1,048,576 TiB"),
        (0.987, Unit.RATIO, "98.7 %"),
        (250.4, Unit.PER_SECOND, "250/s"),
        (0, Unit.TIME, "1970-01-01 00:00:00 UTC"),
        (1e300, Unit.TIME, DASH),
    ],
)
def test_numbers_have_the_form_of_their_unit(value: float | None, unit: Unit, text: str) -> None:
    assert format_number(value, unit) == text
