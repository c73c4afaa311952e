"""How one answer is kept: what of its head counts, and for how long it is fresh."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from scalekit_cache.cache_status import NotStored, reason_for_credentials
from scalekit_cache.dates import format_date
from scalekit_cache.freshness import expiry_lifetime, heuristic_lifetime, initial_age
from scalekit_cache.policies import CachePolicy
from scalekit_cache.storability import Fields, StoragePolicies
from scalekit_cache.stored_response import Headers, StoragePolicy

LONGEST_LENGTH = 18
"""Digits of a ``Content-Length`` that are read as a number; Python refuses to read thousands."""


class Freshness:
    """An answer may be kept by its *ruling*; it had the age 0 when it was *born*, and is fresh for *lifetime*."""

    __slots__ = ("born", "lifetime", "ruling")

    def __init__(self, ruling: StoragePolicy, born: float, lifetime: float) -> None:
        self.ruling = ruling
        self.born = born
        self.lifetime = lifetime

    early = float("inf")

    @property
    def expires(self) -> float:
        """Until when it is fresh."""
        return self.born + self.lifetime


def fields_of(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Return *headers* by name in lower case, the lines of one name joined to a list."""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        lower = name.lower()
        found[lower] = found[lower] + b", " + value if lower in found else value
    return found


def is_longer(length: bytes, most: int) -> bool:
    """Return whether the field ``Content-Length`` announces more than *most* bytes."""
    return length.isdigit() and (len(length) > LONGEST_LENGTH or int(length) > most)


def relevant_of(headers: Iterable[tuple[bytes, bytes]], relevant: frozenset[bytes]) -> dict[bytes, bytes]:
    """Return the same, of the names in *relevant* only."""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        lower = name.lower()
        if lower in relevant:
            found[lower] = found[lower] + b", " + value if lower in found else value
    return found


def evaluate(
    status: int,
    fields: Fields,
    lacks: Callable[[StoragePolicy], int],
    policy: CachePolicy,
    rulings: StoragePolicies,
    asked: float,
    now: float,
) -> Freshness | NotStored:
    """Return how an answer is kept that came *now*, or why it must not be.

    *fields* are those that are relevant; *lacks* tells which credentials of the request a ruling is not for; *asked* is
    when the request was made.
    """
    ruling = rulings.of(status, fields, policy)
    if isinstance(ruling, NotStored):
        return ruling
    missing = lacks(ruling)
    if missing:
        return reason_for_credentials(missing)
    age = initial_age(fields, asked, now) if b"date" in fields or b"age" in fields else 0.0
    lifetime = _lifetime(ruling, fields, now)
    if lifetime is None:
        return NotStored.NO_LIFETIME
    usable = lifetime - age + max(ruling.while_revalidate, ruling.if_error) > 0 and not ruling.checked
    if usable or b"etag" in fields or b"last-modified" in fields:
        return Freshness(ruling, now - age, lifetime)
    return NotStored.STALE


def _lifetime(ruling: StoragePolicy, fields: Fields, now: float) -> float | None:
    """Return for how long an answer is fresh, or None when nobody says so."""
    if ruling.lifetime is not None:
        return ruling.lifetime
    if ruling.expires and b"expires" in fields:
        return expiry_lifetime(fields, now)
    if ruling.by_policy is not None:
        return ruling.by_policy
    lifetime = heuristic_lifetime(fields, ruling.heuristic, now) if ruling.heuristic else 0.0
    return lifetime if lifetime or ruling.says_more else None


def kept_headers(headers: Iterable[tuple[bytes, bytes]], without: frozenset[bytes]) -> Headers:
    """Return the fields that are kept, their names in lower case."""
    return [(lower, value) for name, value in headers if (lower := name.lower()) not in without]


def dated(headers: Headers, fields: Fields, now: float) -> Headers:
    """Return *headers* with a date, which an answer has had since it was made."""
    if b"date" not in fields:
        headers.append((b"date", format_date(int(now))))
    return headers
