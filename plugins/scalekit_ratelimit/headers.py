"""``RateLimit``, ``RateLimit-Policy`` and ``Retry-After`` headers, and the 429 response.

https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/ (draft 10 and later)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scalekit import ProblemResponse
from scalekit_ratelimit.limits import MICROSECONDS, Hit, Limit, LimitState

HitResults = Sequence[tuple[Hit, LimitState]]
Header = tuple[bytes, bytes]

QUOTA_EXCEEDED = "https://iana.org/assignments/http-problem-types#quota-exceeded"
LEGACY_PREFIX = b"x-ratelimit-"
LEGACY_REMAINING = LEGACY_PREFIX + b"remaining"


def too_many_requests(results: HitResults, legacy_headers: bool) -> ProblemResponse:
    """Return the 429 response to a request that at least one of *results* refuses."""
    refused = {hit.limit.name: state for hit, state in results if not state.allowed}
    headers = {name.decode(): value.decode() for name, value in build_limit_headers(results, legacy_headers)}
    headers["retry-after"] = str(max(_seconds(state.retry_after) for state in refused.values()))
    members: dict[str, Any] = {"type": QUOTA_EXCEEDED, "violated-policies": list(refused)}
    return ProblemResponse(429, f"too many requests: {', '.join(refused)}", headers=headers, **members)


def build_limit_headers(results: HitResults, legacy_headers: bool) -> list[Header]:
    """Return the headers for *results*; with *legacy_headers* also the ``X-RateLimit`` ones of the strictest limit."""
    if not results:
        return []
    policies = b", ".join(hit.limit.policy_item for hit, _ in results)
    states = b", ".join(format_ratelimit_item(hit.limit, state) for hit, state in results)
    headers = [(b"ratelimit-policy", policies), (b"ratelimit", states)]
    return headers + _legacy_headers(results) if legacy_headers else headers


def add_limit_headers(headers: list[Header], results: HitResults, legacy_headers: bool) -> None:
    """Add the headers for *results* to *headers*, where the ``X-RateLimit`` ones are those of the strictest limit."""
    added = build_limit_headers(results, legacy_headers)
    present = next((value for name, value in headers if name == LEGACY_REMAINING), None) if legacy_headers else None
    if present is not None:
        if int(dict(added).get(LEGACY_REMAINING, present)) < int(present):
            remove_legacy_headers(headers)
        else:
            remove_legacy_headers(added)
    headers += added


def remove_legacy_headers(headers: list[Header]) -> None:
    """Remove the ``X-RateLimit`` headers from *headers*."""
    headers[:] = [header for header in headers if not header[0].startswith(LEGACY_PREFIX)]


def format_ratelimit_item(limit: Limit, state: LimitState) -> bytes:
    """Return the item of ``RateLimit``; for a refused request ``t`` is its retry time, so it matches Retry-After."""
    allowed, remaining, reset, retry_after = state
    return limit.quoted_name + b";r=%d;t=%d" % (remaining, _seconds(reset if allowed else retry_after))


def _legacy_headers(results: HitResults) -> list[Header]:
    hit, state = min(results, key=lambda result: (result[1].allowed, result[1].remaining))
    reset = _seconds(state.reset if state.allowed else state.retry_after)
    return [
        (LEGACY_PREFIX + b"limit", b"%d" % hit.limit.quota),
        (LEGACY_REMAINING, b"%d" % state.remaining),
        (LEGACY_PREFIX + b"reset", b"%d" % reset),
    ]


def _seconds(microseconds: int) -> int:
    return -(-microseconds // MICROSECONDS)
