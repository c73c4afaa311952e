"""Dates as HTTP writes them (RFC 9110, section 5.6.7)."""

from __future__ import annotations

import re
from calendar import timegm
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
    """Return the seconds since the epoch that *value* names, or None when it is no date."""
    text = value.strip()
    match = _IMF.fullmatch(text) or _RFC850.fullmatch(text) or _ASCTIME.fullmatch(text)
    if match is None:
        return None
    month = MONTHS.get(match["month"].lower())
    day, hour, minute, second = (int(match[name]) for name in ("day", "hour", "minute", "second"))
    if month is None or not 1 <= day <= 31 or hour > 23 or minute > 59 or second > 60:
        return None
    year = int(match["year"])
    if len(match["year"]) == 2:
        year = _century(year, now)
    return float(timegm((year, month, day, hour, minute, second)))


def _century(year: int, now: float) -> int:
    """Return the whole year of two digits: a date that seems more than 50 years ahead is in the past."""
    this = int(formatdate(now)[12:16])
    whole = this - this % 100 + year
    return whole - 100 if whole > this + 50 else whole


@lru_cache(maxsize=256)
def format_date(seconds: int) -> bytes:
    """Return *seconds* since the epoch as a field value."""
    return formatdate(seconds, usegmt=True).encode()
