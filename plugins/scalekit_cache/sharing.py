"""Who may share a response that is being made."""

from __future__ import annotations

from scalekit_cache.assessing import is_reusable
from scalekit_cache.http_cache import RefreshResult
from scalekit_cache.policies import CachePolicy
from scalekit_cache.request import NOTHING, CacheRequest
from scalekit_cache.single_flight import Flight
from scalekit_cache.stored_response import COOKIE
from scalekit_cache.vary import IDENTITY, IDENTITY_WITHOUT_COOKIES
from scalekit_caching.items import Key


def is_for_one(asked: CacheRequest, policy: CachePolicy) -> bool:
    """Tell whether the response to a request will be for nobody else, so that nobody need wait for it."""
    if not asked.credentials or policy.by_identity:
        return False
    return bool(asked.credentials & ~(COOKIE if policy.ignores_cookies else 0))


def flight_key(primary: Key, asked: CacheRequest, policy: CachePolicy) -> Key:
    """Return what requests have in common that wait for each other."""
    names = policy.vary
    if policy.by_identity:
        names = (*names, IDENTITY_WITHOUT_COOKIES if policy.ignores_cookies else IDENTITY)
    return (*primary, *asked.selecting(names)) if names else primary


def may_follow(asked: CacheRequest, flight: Flight) -> bool:
    """Tell whether what *flight* makes is for this request too."""
    kept = flight.kept
    if kept is None or flight.has_let_go or asked.lacks(kept.ruling):
        return False
    return asked.selecting(kept.ruling.names) == flight.selecting


def is_in_time(asked: CacheRequest, arrived: int, flight: Flight, now: float) -> bool:
    """Tell whether the response of *flight* is right for a request that has *arrived* at that moment.

    It is when it was begun after that, or when it may be reused (RFC 9111, section 4).
    """
    return flight.kept is None or arrived <= flight.begun or is_reusable(flight.kept, asked.directives, now)


def is_over(asked: CacheRequest, flight: Flight, now: float) -> bool:
    """Tell whether another flight is better for this request, and for all who come from now on."""
    return "no-cache" in asked.directives or flight.kept is None or not is_reusable(flight.kept, NOTHING, now)


def may_take(asked: CacheRequest, arrived: int, refreshed: RefreshResult, now: float) -> bool:
    """Tell whether what was *refreshed* on behalf of another request is for one that has *arrived* at that moment."""
    made = refreshed.entry
    if made is None or refreshed.refusal is not None or asked.lacks(made.ruling):
        return False
    if made.ruling.names and asked.selecting(made.ruling.names) != refreshed.selecting:
        return False
    return arrived <= refreshed.begun or is_reusable(made, asked.directives, now)
