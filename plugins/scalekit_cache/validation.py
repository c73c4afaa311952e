"""Validation of responses (RFC 9111, section 4.3).

A conditional or range request from a client is served from the stored response, with 200, 206, 304 or 416 (RFC 9110,
sections 13 and 14). The cache validates a stored response by a conditional request to the application, and updates it
by a 304.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from starlette.types import Message, Scope, Send

from scalekit import send_problem
from scalekit_cache.cache_status import Headers, NotStored
from scalekit_cache.freshness import Freshness, format_date, initial_age, parse_date
from scalekit_cache.keys import vary_names
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

_TAG = re.compile(rb'(?:W/)?"[^"]*"|[^\s,]+')
_RANGE = re.compile(rb"bytes=[ \t]*(\d{0,18})-(\d{0,18})[ \t]*", re.IGNORECASE)

Fields = Mapping[bytes, bytes]
CONDITIONAL_STATUSES = frozenset({200, 203})
REPRESENTATION_FIELDS = frozenset(
    {b"content-length", b"content-encoding", b"content-type", b"content-language", b"content-range"}
)
"""Headers that a 304 omits, because the client has them."""
NOT_UPDATED = EXCLUDED_FIELDS | {b"content-length", b"content-encoding", b"content-range"}
"""Headers of a 304 that do not replace stored ones (RFC 9111, section 3.2)."""


async def send_stored(
    response: StoredResponse, headers: Headers, request_headers: Fields, *, method: str, now: float, send: Send
) -> None:
    """Send *response* with *headers*, as the conditions and the range in *request_headers* demand."""
    if response.status in CONDITIONAL_STATUSES and is_not_modified(headers, request_headers, now):
        for message in not_modified_messages(headers):
            await send(message)
        return
    status, body = response.status, response.body
    value = request_headers.get(b"range") if status == 200 and method == "GET" else None
    if value is not None and if_range_matches(request_headers, response.etag, response.last_modified):
        limits = parse_single_range(value, len(body))
        if limits is not None:
            status, headers, body = _partial(headers, body, *limits)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else body})


async def send_only_if_cached_error(scope: Scope, send: Send, cache_name: bytes) -> None:
    """Send 504: the request has only-if-cached, and no response is stored (RFC 9111, section 5.2.1.7)."""
    headers = {"cache-status": f"{cache_name.decode()}; fwd=request; detail=only-if-cached"}
    await send_problem(scope, send, 504, "no stored response satisfies only-if-cached", headers=headers)


def is_not_modified(headers: Headers, request_headers: Fields, now: float) -> bool:
    """Return whether the client has the response with *headers* already, by the conditions in *request_headers*."""
    if b"if-none-match" not in request_headers and b"if-modified-since" not in request_headers:
        return False
    fields = {name.lower(): value for name, value in headers}
    return not_modified(request_headers, fields.get(b"etag"), fields.get(b"last-modified"), fields.get(b"date"), now)


def not_modified_messages(headers: Headers) -> tuple[Message, Message]:
    """Return the messages of a 304 for a response with *headers*."""
    remaining = [field for field in headers if field[0].lower() not in REPRESENTATION_FIELDS]
    start = {"type": "http.response.start", "status": 304, "headers": remaining}
    return start, {"type": "http.response.body", "body": b""}


def _partial(headers: Headers, body: bytes, start: int, end: int) -> tuple[int, Headers, bytes]:
    if end == 0:
        status, part, content_range = 416, b"", b"bytes */%d" % len(body)
    else:
        status, part = 206, body[start:end]
        content_range = b"bytes %d-%d/%d" % (start, end - 1, len(body))
    others = [field for field in headers if field[0] != b"content-length"]
    return status, [*others, (b"content-range", content_range), (b"content-length", b"%d" % len(part))], part


def not_modified(
    request_headers: Fields, etag: bytes | None, last_modified: bytes | None, date: bytes | None, now: float
) -> bool:
    """Return whether the validators match the conditions in *request_headers*; entity tags have precedence."""
    tags = request_headers.get(b"if-none-match")
    if tags is not None:
        return tags.strip() == b"*" or (etag is not None and _weak(etag) in map(_weak, _TAG.findall(tags)))
    value = request_headers.get(b"if-modified-since")
    if value is None:
        return False
    since = parse_date(value, now)
    # Without Last-Modified the Date of the response is compared (RFC 9111, section 4.3.2).
    modified = parse_date(last_modified or date or b"", now)
    return since is not None and modified is not None and modified <= since


def _weak(tag: bytes) -> bytes:
    return tag.strip().removeprefix(b"W/")


def if_range_matches(request_headers: Fields, etag: bytes | None, last_modified: bytes | None) -> bool:
    """Return whether ``If-Range`` is absent or matches; only strong entity tags match."""
    condition = request_headers.get(b"if-range")
    if condition is None:
        return True
    condition = condition.strip()
    if condition.startswith((b'"', b"W/")):
        return condition == etag and not condition.startswith(b"W/")
    return last_modified is not None and condition == last_modified


def parse_single_range(value: bytes, length: int) -> tuple[int, int] | None:
    """Return start and end of the single range in *value*; an end of 0 means that it is not satisfiable.

    Return None for an invalid range and for several ranges, which get the complete response.
    """
    match = _RANGE.fullmatch(value.strip())
    if match is None or match.group(0) == b"bytes=-":
        return None
    first, last = match.groups()
    if not first:
        if not last:
            return None
        start = max(0, length - int(last))
        return (start, length) if int(last) and length else (0, 0)
    start, end = int(first), min(int(last) + 1, length) if last else length
    if last and int(last) < start:
        return None
    return (start, end) if start < length else (0, 0)


def conditional_request(scope: Scope, stale: StoredResponse) -> Scope:
    """Return a copy of *scope* with the validators of *stale* instead of the client's conditions."""
    headers = [field for field in scope["headers"] if field[0] not in CONDITIONS]
    if stale.etag is not None:
        headers.append((b"if-none-match", stale.etag))
    if stale.last_modified is not None:
        headers.append((b"if-modified-since", stale.last_modified))
    return {**scope, "headers": headers}


def _joined_vary(stale: StoredResponse, news: Mapping[bytes, bytes]) -> bytes:
    """Return the names of both Vary fields: a 304 that leaves out a name must not merge variants."""
    return b", ".join(vary_names([fields_of(stale.headers).get(b"vary", b""), news[b"vary"]]))


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
    updated = exclude_fields(headers, NOT_UPDATED | {b"vary"})
    if b"vary" in news:
        updated.append((b"vary", _joined_vary(stale, news)))
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
