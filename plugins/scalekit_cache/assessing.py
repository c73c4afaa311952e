"""Whether what is kept may be given to who asks (RFC 9111, section 4; RFC 5861)."""

from __future__ import annotations

from enum import Enum, auto
from typing import Protocol

from scalekit_cache.directives import Directives, seconds
from scalekit_cache.stored_response import Ruling


class Response(Protocol):
    """What counts of a response that is kept, or that is being made and may be kept."""

    @property
    def ruling(self) -> Ruling:
        """How it is kept."""
        ...

    @property
    def born(self) -> float:
        """When its age was 0."""
        ...

    @property
    def expires(self) -> float:
        """Until when it is fresh."""
        ...

    @property
    def early(self) -> float:
        """From when on it is made anew ahead of time."""
        ...


class Verdict(Enum):
    """What to do with an entry."""

    GIVE = auto()
    """It is fresh, or stale and good enough for who asks."""
    GIVE_AND_REFRESH = auto()
    """Give it at once and have it refreshed."""
    VALIDATE = auto()
    """Ask the application first."""
    VALIDATE_OR_GIVE = auto()
    """Ask the application first; give it if that fails."""


def assess(entry: Response, asked: Directives, now: float) -> Verdict:
    """Return what to do with *entry* for a request with the directives *asked*."""
    ruling = entry.ruling
    left = entry.expires - now
    if asked and _refused(entry, asked, left, now):
        return Verdict.VALIDATE
    if ruling.checked:
        return Verdict.VALIDATE
    if left > 0:
        return Verdict.GIVE_AND_REFRESH if now >= entry.early else Verdict.GIVE
    if ruling.strict:
        return Verdict.VALIDATE
    if "max-stale" in asked:
        limit = seconds(asked, "max-stale") if asked["max-stale"] is not None else None
        if limit is None or -left <= limit:
            return Verdict.GIVE
    if -left < ruling.while_revalidate:
        return Verdict.GIVE_AND_REFRESH
    if_error = max(ruling.if_error, seconds(asked, "stale-if-error") or 0)
    return Verdict.VALIDATE_OR_GIVE if -left < if_error else Verdict.VALIDATE


def is_reusable(response: Response, asked: Directives, now: float) -> bool:
    """Tell whether *response* may be given without asking the application first."""
    return assess(response, asked, now) in (Verdict.GIVE, Verdict.GIVE_AND_REFRESH)


def _refused(entry: Response, asked: Directives, left: float, now: float) -> bool:
    """Tell whether who asks wants something newer."""
    if "no-cache" in asked:
        return True
    oldest = seconds(asked, "max-age")
    if oldest is not None and now - entry.born > oldest and not (entry.ruling.immutable and left > 0):
        return "max-stale" not in asked
    freshest = seconds(asked, "min-fresh")
    return freshest is not None and left < freshest
