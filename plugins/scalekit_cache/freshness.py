"""How long an answer is fresh, and how old it is (RFC 9111, section 4.2)."""

from __future__ import annotations

from collections.abc import Mapping

from scalekit_cache.dates import parse_date

Fields = Mapping[bytes, bytes]

LONGEST_HEURISTIC = 86400.0
OLDEST = 2**31


def expiry_lifetime(fields: Fields, now: float) -> float:
    """Return for how many seconds an answer with ``Expires`` is fresh; one that is no date says that it is stale."""
    until = parse_date(fields[b"expires"], now)
    return 0.0 if until is None else max(0.0, until - _date(fields, now))


def heuristic_lifetime(fields: Fields, share: float, now: float) -> float:
    """Return *share* of the time since the answer was last modified, a day at most."""
    modified = parse_date(fields.get(b"last-modified", b""), now)
    if modified is None or not share:
        return 0.0
    return min(max(0.0, _date(fields, now) - modified) * share, LONGEST_HEURISTIC)


def initial_age(fields: Fields, asked: float, now: float) -> float:
    """Return how old an answer was when it came *now* to a request that was made when it was *asked*."""
    apparent = max(0.0, now - _date(fields, now))
    if b"age" not in fields:  # it was made here
        return apparent
    return max(apparent, _told_age(fields[b"age"]) + max(0.0, now - asked))


def _told_age(value: bytes) -> int:
    """Return the seconds that ``Age`` says; what is too large for a number is as old as can be (section 1.2.2)."""
    first = value.partition(b",")[0].strip()
    if not first.isdigit():
        return 0
    digits = first.lstrip(b"0")
    return OLDEST if len(digits) > len(str(OLDEST)) else min(int(digits or b"0"), OLDEST)


def _date(fields: Fields, now: float) -> float:
    date = parse_date(fields.get(b"date", b""), now)
    return now if date is None else date
