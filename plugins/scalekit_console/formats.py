"""Numbers as text, by their unit."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from scalekit.pages import Unit

DASH = "\N{EN DASH}"
"""Stands for a value that is missing."""
SIZES = ("B", "KiB", "MiB", "GiB", "TiB")
DURATIONS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))


def format_number(value: float | None, unit: Unit = Unit.NONE) -> str:
    """Return *value* of *unit* as text, a dash when there is none."""
    if value is None or not math.isfinite(value):
        return DASH
    match unit:
        case Unit.SECONDS:
            return _duration(value)
        case Unit.BYTES:
            return _size(value)
        case Unit.RATIO:
            return f"{_short(value * 100)} %"
        case Unit.PER_SECOND:
            return f"{_short(value)}/s"
        case Unit.TIME:
            return _time(value)
    return f"{value:,}" if isinstance(value, int) else _short(value)


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _duration(value: float) -> str:
    if abs(value) >= 120:
        minutes, seconds = divmod(round(value), 60)
        hours, minutes = divmod(minutes, 60)
        days, hours = divmod(hours, 24)
        parts = [(days, "d"), (hours, "h"), (minutes, "min"), (seconds, "s")]
        shown = [f"{number} {name}" for number, name in parts if number]
        return " ".join(shown[:2])
    if not value:
        return "0 s"
    # Numbers from 999.5 on are rounded to 1,000, which is 1 of the next unit.
    scale, name = next((each for each in DURATIONS if abs(value) >= each[0] * 0.9995), DURATIONS[-1])
    return f"{_short(value / scale)} {name}"


def _size(value: float) -> str:
    power = min(len(SIZES) - 1, max(0, int(abs(value)).bit_length() - 1) // 10)
    return f"{_short(value / 1024**power)} {SIZES[power]}"


def _time(value: float) -> str:
    try:
        return f"{datetime.fromtimestamp(value, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (OverflowError, ValueError, OSError):
        return DASH
