"""Revalidate a stale stored response: the conditional request, and the update by a 304 (RFC 9111, section 4.3)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from starlette.types import Message, Receive, Scope

from scalekit import TIMEOUT_HEADER
from scalekit_cache.cache_status import NotStored
from scalekit_cache.freshness import Freshness, format_date, initial_age
from scalekit_cache.policies import CachePolicy
from scalekit_cache.request import CONDITIONS
from scalekit_cache.storability import (
    EXCLUDED_FIELDS,
    SET_COOKIE_FIELDS,
    StoragePolicies,
    evaluate,
    exclude_fields,
    fields_of,
)
from scalekit_cache.stored_response import StoragePolicy, StoredResponse

TIMEOUT = TIMEOUT_HEADER.encode()
NOT_UPDATED = EXCLUDED_FIELDS | {b"content-length", b"content-encoding", b"content-range"}
"""Headers of a 304 that do not replace stored ones (RFC 9111, section 3.2)."""


def conditional_request(scope: Scope, stale: StoredResponse) -> Scope:
    """Return a copy of *scope* with the validators of *stale* instead of the client's conditions."""
    headers = [field for field in scope["headers"] if field[0] not in CONDITIONS]
    if stale.etag is not None:
        headers.append((b"if-none-match", stale.etag))
    if stale.last_modified is not None:
        headers.append((b"if-modified-since", stale.last_modified))
    return {**scope, "headers": headers}


def background_request(scope: Scope, stale: StoredResponse) -> Scope:
    """Return a conditional GET without the timeout of the client that caused it."""
    request = conditional_request(scope, stale)
    headers = [field for field in request["headers"] if field[0] != TIMEOUT]
    return {**request, "method": "GET", "headers": headers, "extensions": {}}


def empty_receive() -> Receive:
    """Return a receive callable for an empty body, of a client that never disconnects."""
    messages: list[Message] = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Message:
        if messages:
            return messages.pop()
        await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    return receive


def update_stored_response(
    stale: StoredResponse,
    headers: Iterable[tuple[bytes, bytes]],
    policy: CachePolicy,
    policies: StoragePolicies,
    missing_credentials: Callable[[StoragePolicy], int],
    *,
    now: float,
) -> tuple[StoredResponse, Freshness | NotStored]:
    """Return *stale* updated by the *headers* of a 304 received *now*, with its freshness (RFC 9111, section 4.3.4)."""
    news = fields_of(headers)
    names = news.keys() - NOT_UPDATED
    updated = exclude_fields(headers, NOT_UPDATED)
    if b"date" not in news:
        names = names | {b"date"}
        updated.append((b"date", format_date(int(now))))
    merged = [field for field in stale.headers if field[0] not in names] + updated
    transient = news.keys() & (SET_COOKIE_FIELDS | {b"age", b"connection"})
    fields = fields_of(merged) | {name: news[name] for name in transient}
    evaluated = evaluate(stale.status, fields, policy, policies, missing_credentials, requested_at=now, now=now)
    if isinstance(evaluated, NotStored):
        freshness = Freshness(stale.storage_policy, now - initial_age(fields, now, now), 0.0)
    else:
        freshness = evaluated
        merged = exclude_fields(merged, freshness.storage_policy.excluded_fields)
    response = StoredResponse(
        stale.key,
        stale.status,
        merged,
        stale.body,
        freshness.storage_policy,
        generated_at=freshness.generated_at,
        lifetime=freshness.lifetime,
        etag=fields.get(b"etag"),
        last_modified=fields.get(b"last-modified"),
        cache_name=stale.cache_name,
        path=stale.path,
        tags=stale.tags,
        since=stale.version_at_start,
        route_scope=stale.route_scope,
    )
    return response, evaluated
