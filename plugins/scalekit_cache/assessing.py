"""Whether what is kept may be given to who asks (RFC 9111, section 4; RFC 5861)."""

from __future__ import annotations

from enum import Enum, auto
from typing import Protocol

from scalekit_cache.directives import Directives, seconds
from scalekit_cache.stored_response import StoragePolicy


class Response(Protocol):
    """What counts of a response that is kept, or that is being made and may be kept."""

    @property
    def ruling(self) -> StoragePolicy:
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


class Reuse(Enum):
    """What to do with an entry."""

    FRESH = auto()
    """It is fresh, or stale and good enough for who asks."""
    STALE_WHILE_REVALIDATE = auto()
    """Give it at once and have it refreshed."""
    REVALIDATE = auto()
    """Ask the application first."""
    STALE_IF_ERROR = auto()
    """Ask the application first; give it if that fails."""


def decide_reuse(entry: Response, asked: Directives, now: float) -> Reuse:
    """Return what to do with *entry* for a request with the directives *asked*."""
    ruling = entry.ruling
    left = entry.expires - now
    if asked and _refused(entry, asked, left, now):
        return Reuse.REVALIDATE
    if ruling.checked:
        return Reuse.REVALIDATE
    if left > 0:
        return Reuse.STALE_WHILE_REVALIDATE if now >= entry.early else Reuse.FRESH
    if ruling.strict:
        return Reuse.REVALIDATE
    if "max-stale" in asked:
        limit = seconds(asked, "max-stale") if asked["max-stale"] is not None else None
        if limit is None or -left <= limit:
            return Reuse.FRESH
    if -left < ruling.while_revalidate:
        return Reuse.STALE_WHILE_REVALIDATE
    if_error = max(ruling.if_error, seconds(asked, "stale-if-error") or 0)
    return Reuse.STALE_IF_ERROR if -left < if_error else Reuse.REVALIDATE


def is_reusable(response: Response, asked: Directives, now: float) -> bool:
    """Tell whether *response* may be given without asking the application first."""
    return decide_reuse(response, asked, now) in (Reuse.FRESH, Reuse.STALE_WHILE_REVALIDATE)


def _refused(entry: Response, asked: Directives, left: float, now: float) -> bool:
    """Tell whether who asks wants something newer."""
    if "no-cache" in asked:
        return True
    oldest = seconds(asked, "max-age")
    if oldest is not None and now - entry.born > oldest and not (entry.ruling.immutable and left > 0):
        return "max-stale" not in asked
    freshest = seconds(asked, "min-fresh")
    return freshest is not None and left < freshest
