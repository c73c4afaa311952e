"""Options of consumers and of messages: names, numbers and durations, validated where they are written."""

from __future__ import annotations

import re

from scalekit.config.types import Duration

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
MAX_DELAY = 30 * 86400.0


def validate_message_name(name: str) -> str:
    """Return *name*; raises ValueError when it is not a valid message name."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ValueError(f"expected a name of letters, digits and . _ : - such as 'data.created', got {name!r}")
    return name


def to_seconds(option: str, value: str | float) -> float:
    """Return *value*, seconds or a duration such as ``"5m"``, in seconds; raises ValueError outside 0 to 30 days."""
    number = float(Duration(value)) if isinstance(value, str) else float(value)
    if not 0 <= number <= MAX_DELAY:
        raise ValueError(f"{option} {value!r} is not between 0 and 30 days")
    return number


def to_positive_seconds(option: str, value: str | float) -> float:
    """Return *value* in seconds; raises ValueError unless it is greater than zero."""
    number = to_seconds(option, value)
    if not number:
        raise ValueError(f"{option} must be greater than zero")
    return number


def to_optional_seconds(option: str, value: str | float | None) -> float | None:
    """Return *value* in seconds, or None without one; raises ValueError unless it is greater than zero."""
    return None if value is None else to_positive_seconds(option, value)


def at_least_one(option: str, number: int) -> int:
    """Return *number*; raises ValueError when it is less than 1."""
    if number < 1:
        raise ValueError(f"{option} must be at least 1, got {number}")
    return number
