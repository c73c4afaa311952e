"""How long an answer is fresh, and how old it is (RFC 9111, section 4.2)."""

from __future__ import annotations

from collections.abc import Mapping

from scalekit_cache.dates import parse_date
from scalekit_cache.directives import Directives, seconds

Fields = Mapping[bytes, bytes]

HEURISTIC_STATUSES = frozenset({200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501})
LONGEST_HEURISTIC = 86400.0


def explicit_lifetime(directives: Directives, fields: Fields, targeted: bool, now: float) -> float | None:
    """Return for how many seconds the answer itself says that it is fresh, or None when it does not say.

    What is not valid says that it is stale. A *targeted* field stands for ``Expires`` as well.
    """
    for name in ("s-maxage", "max-age"):
        value = seconds(directives, name)
        if value is not None:
            return float(value)
    expires = None if targeted else fields.get(b"expires")
    if expires is None:
        return None
    until = parse_date(expires, now)
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
    first = fields[b"age"].partition(b",")[0].strip()
    told = int(first) if first.isdigit() and len(first) < 12 else 0
    return max(apparent, told + max(0.0, now - asked))


def _date(fields: Fields, now: float) -> float:
    date = parse_date(fields.get(b"date", b""), now)
    return now if date is None else date
