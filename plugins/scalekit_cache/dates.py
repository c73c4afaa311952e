"""Dates as HTTP writes them (RFC 9110, section 5.6.7)."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import formatdate
from functools import lru_cache

MONTHS = {name: number for number, name in enumerate(b"jan feb mar apr may jun jul aug sep oct nov dec".split(), 1)}
_TIME = rb"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"
_IMF = re.compile(rb"[a-z]{3}, (?P<day>\d\d) (?P<month>[a-z]{3}) (?P<year>\d{4}) " + _TIME + rb" gmt", re.IGNORECASE)
_RFC850 = re.compile(
    rb"[a-z]{6,9}, (?P<day>\d\d)-(?P<month>[a-z]{3})-(?P<year>\d\d) " + _TIME + rb" gmt", re.IGNORECASE
)
_ASCTIME = re.compile(rb"[a-z]{3} (?P<month>[a-z]{3}) (?P<day>[ \d]\d) " + _TIME + rb" (?P<year>\d{4})", re.IGNORECASE)


def parse_date(value: bytes, now: float) -> float | None:
    """Return the seconds since the epoch that *value* names, or None when no calendar has such a date."""
    text = value.strip()
    match = _IMF.fullmatch(text) or _RFC850.fullmatch(text) or _ASCTIME.fullmatch(text)
    if match is None:
        return None
    year, day, hour, minute, second = (int(match[name]) for name in ("year", "day", "hour", "minute", "second"))
    month = MONTHS.get(match["month"].lower(), 0)
    if second > 60:  # 60 is a leap second, which is the first of the next minute to a clock without them
        return None
    try:
        if len(match["year"]) < 4:
            year = _whole_year(year, (month, day, hour, minute), now)
        return datetime(year, month, day, hour, minute, tzinfo=UTC).timestamp() + second
    except ValueError:  # the year 0, 31 February, 24:00
        return None


def _whole_year(year: int, rest: tuple[int, int, int, int], now: float) -> int:
    """Return the year that two digits stand for: a date that seems more than 50 years ahead is in the past."""
    today = datetime.fromtimestamp(now, UTC)
    whole = today.year - today.year % 100 + year
    latest = (today.year + 50, today.month, today.day, today.hour, today.minute)
    return whole - 100 if (whole, *rest) > latest else whole


@lru_cache(maxsize=256)
def format_date(seconds: int) -> bytes:
    """Return *seconds* since the epoch as a field value."""
    return formatdate(seconds, usegmt=True).encode()
