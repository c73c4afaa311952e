"""What a 304 changes of what is kept (RFC 9111, section 4.3.4)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from scalekit_cache.cache_status import NotStored
from scalekit_cache.dates import format_date
from scalekit_cache.freshness import initial_age
from scalekit_cache.policies import CachePolicy
from scalekit_cache.storability import COOKIES, LEFT_OUT, StoragePolicies
from scalekit_cache.stored_response import StoragePolicy, StoredResponse
from scalekit_cache.storing import Freshness, evaluate, fields_of, kept_headers

NOT_UPDATED = LEFT_OUT | {b"content-length", b"content-encoding", b"content-range"}


def update_stored_response(
    stale: StoredResponse,
    headers: Iterable[tuple[bytes, bytes]],
    lacks: Callable[[StoragePolicy], int],
    policy: CachePolicy,
    rulings: StoragePolicies,
    now: float,
) -> tuple[StoredResponse, Freshness | NotStored]:
    """Return *stale* with the *headers* of a 304 that came *now* instead of its own, and how that is kept."""
    news = fields_of(headers)
    names = news.keys() - NOT_UPDATED
    updated = kept_headers(headers, NOT_UPDATED)
    if b"date" not in news:
        names = names | {b"date"}
        updated.append((b"date", format_date(now)))
    merged = [field for field in stale.headers if field[0] not in names] + updated
    fields = fields_of(merged) | {name: news[name] for name in news.keys() & (COOKIES | {b"age", b"connection"})}
    kept = evaluate(stale.status, fields, lacks, policy, rulings, now, now)
    if isinstance(kept, NotStored):
        kept_as = Freshness(stale.ruling, now - initial_age(fields, now, now), 0.0)
    else:
        kept_as = kept
        merged = kept_headers(merged, kept.ruling.without)
    entry = StoredResponse(
        stale.key,
        stale.status,
        merged,
        stale.body,
        kept_as.ruling,
        kept_as.born,
        kept_as.lifetime,
        etag=fields.get(b"etag"),
        modified=fields.get(b"last-modified"),
        name=stale.name,
        path=stale.path,
        tags=stale.tags,
        since=stale.since,
        routed=stale.routed,
    )
    return entry, kept
