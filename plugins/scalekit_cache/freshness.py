"""Freshness lifetime, age and reuse of responses (RFC 9111, section 4; RFC 5861), and HTTP dates (RFC 9110, 5.6.7)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import formatdate
from enum import Enum, auto
from functools import lru_cache
from typing import Protocol

from scalekit_cache.directives import Directives, seconds
from scalekit_cache.stored_response import NEVER, StoragePolicy

Fields = Mapping[bytes, bytes]

MAX_HEURISTIC_LIFETIME = 86400.0
MAX_AGE_VALUE = 2**31
MONTHS = {name: number for number, name in enumerate(b"jan feb mar apr may jun jul aug sep oct nov dec".split(), 1)}
_TIME = rb"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"
_IMF = re.compile(rb"[a-z]{3}, (?P<day>\d\d) (?P<month>[a-z]{3}) (?P<year>\d{4}) " + _TIME + rb" gmt", re.IGNORECASE)
_RFC850 = re.compile(
    rb"[a-z]{6,9}, (?P<day>\d\d)-(?P<month>[a-z]{3})-(?P<year>\d\d) " + _TIME + rb" gmt", re.IGNORECASE
)
_ASCTIME = re.compile(rb"[a-z]{3} (?P<month>[a-z]{3}) (?P<day>[ \d]\d) " + _TIME + rb" (?P<year>\d{4})", re.IGNORECASE)


class ResponseFreshness(Protocol):
    """The freshness of a stored response, or of one in flight."""

    @property
    def storage_policy(self) -> StoragePolicy:
        """How it is stored and reused."""
        ...

    @property
    def generated_at(self) -> float:
        """When its age was 0."""
        ...

    @property
    def expires(self) -> float:
        """When it becomes stale."""
        ...

    @property
    def refresh_at(self) -> float:
        """When it is to be refreshed early."""
        ...


class Freshness:
    """The *storage_policy* of a response in flight, when its age was 0, and its freshness *lifetime* in seconds."""

    __slots__ = ("generated_at", "lifetime", "storage_policy")

    def __init__(self, storage_policy: StoragePolicy, generated_at: float, lifetime: float) -> None:
        self.storage_policy = storage_policy
        self.generated_at = generated_at
        self.lifetime = lifetime

    refresh_at = NEVER

    @property
    def expires(self) -> float:
        """When it becomes stale."""
        return self.generated_at + self.lifetime


class Reuse(Enum):
    """How a stored response may be reused."""

    FRESH = auto()
    """Send it: it is fresh, or the request accepts it stale."""
    STALE_WHILE_REVALIDATE = auto()
    """Send it and refresh it in the background."""
    REVALIDATE = auto()
    """Revalidate it first."""
    STALE_IF_ERROR = auto()
    """Revalidate it first; send it when that fails."""


def decide_reuse(response: ResponseFreshness, directives: Directives, now: float) -> Reuse:
    """Return how *response* may be reused for a request with *directives*."""
    policy = response.storage_policy
    remaining = response.expires - now
    if directives and _is_too_old(response, directives, remaining, now):
        return Reuse.REVALIDATE
    if policy.no_cache:
        return Reuse.REVALIDATE
    if remaining > 0:
        return Reuse.STALE_WHILE_REVALIDATE if now >= response.refresh_at else Reuse.FRESH
    if policy.must_revalidate:
        return Reuse.REVALIDATE
    if "max-stale" in directives:
        limit = seconds(directives, "max-stale") if directives["max-stale"] is not None else None
        if limit is None or -remaining <= limit:
            return Reuse.FRESH
    if -remaining < policy.stale_while_revalidate:
        return Reuse.STALE_WHILE_REVALIDATE
    stale_if_error = max(policy.stale_if_error, seconds(directives, "stale-if-error") or 0)
    return Reuse.STALE_IF_ERROR if -remaining < stale_if_error else Reuse.REVALIDATE


def is_reusable(response: ResponseFreshness, directives: Directives, now: float) -> bool:
    """Return whether *response* may be reused without revalidation."""
    return decide_reuse(response, directives, now) in (Reuse.FRESH, Reuse.STALE_WHILE_REVALIDATE)


def _is_too_old(response: ResponseFreshness, directives: Directives, remaining: float, now: float) -> bool:
    """Return whether ``no-cache``, ``max-age`` or ``min-fresh`` of the request excludes *response*."""
    if "no-cache" in directives:
        return True
    max_age = seconds(directives, "max-age")
    is_immutable = response.storage_policy.immutable and remaining > 0
    if max_age is not None and now - response.generated_at > max_age and not is_immutable:
        return "max-stale" not in directives
    min_fresh = seconds(directives, "min-fresh")
    return min_fresh is not None and remaining < min_fresh


def expires_lifetime(fields: Fields, now: float) -> float:
    """Return the freshness lifetime by ``Expires`` in seconds; 0 for an invalid date."""
    expires = parse_date(fields[b"expires"], now)
    return 0.0 if expires is None else max(0.0, expires - _date(fields, now))


def heuristic_lifetime(fields: Fields, fraction: float, now: float) -> float:
    """Return *fraction* of the time since ``Last-Modified`` in seconds, a day at most."""
    modified = parse_date(fields.get(b"last-modified", b""), now)
    if modified is None or not fraction:
        return 0.0
    return min(max(0.0, _date(fields, now) - modified) * fraction, MAX_HEURISTIC_LIFETIME)


def initial_age(fields: Fields, requested_at: float, now: float) -> float:
    """Return the age in seconds of a response received *now* for a request made at *requested_at*."""
    apparent_age = max(0.0, now - _date(fields, now))
    if b"age" not in fields:  # generated by this application, not by an upstream cache
        return apparent_age
    return max(apparent_age, _age_value(fields[b"age"]) + max(0.0, now - requested_at))


def _age_value(value: bytes) -> int:
    """Return the seconds in ``Age``; a number that is too large counts as the maximum (section 1.2.2)."""
    first = value.partition(b",")[0].strip()
    if not first.isdigit():
        return 0
    digits = first.lstrip(b"0")
    return MAX_AGE_VALUE if len(digits) > len(str(MAX_AGE_VALUE)) else min(int(digits or b"0"), MAX_AGE_VALUE)


def _date(fields: Fields, now: float) -> float:
    date = parse_date(fields.get(b"date", b""), now)
    return now if date is None else date


def parse_date(value: bytes, now: float) -> float | None:
    """Return the date *value* in seconds since the epoch, or None when it is no valid HTTP date."""
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
            year = _full_year(year, (month, day, hour, minute), now)
        return datetime(year, month, day, hour, minute, tzinfo=UTC).timestamp() + second
    except ValueError:  # the year 0, 31 February, 24:00
        return None


def _full_year(year: int, rest: tuple[int, int, int, int], now: float) -> int:
    """Return the year for two digits: a date that appears more than 50 years ahead is in the past."""
    today = datetime.fromtimestamp(now, UTC)
    full = today.year - today.year % 100 + year
    latest = (today.year + 50, today.month, today.day, today.hour, today.minute)
    return full - 100 if (full, *rest) > latest else full


@lru_cache(maxsize=256)
def format_date(seconds_since_epoch: int) -> bytes:
    """Return *seconds_since_epoch* as an HTTP date."""
    return formatdate(seconds_since_epoch, usegmt=True).encode()
