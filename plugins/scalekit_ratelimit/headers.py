"""The headers and the 429 that tell clients of limits (draft-ietf-httpapi-ratelimit-headers-10 and later)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scalekit import ProblemResponse
from scalekit_ratelimit.gcra import MICROSECONDS, Limit, LimitState
from scalekit_ratelimit.memory_limiter import Hit

HitResults = Sequence[tuple[Hit, LimitState]]
Header = tuple[bytes, bytes]

QUOTA_EXCEEDED = "https://iana.org/assignments/http-problem-types#quota-exceeded"
LEGACY = b"x-ratelimit-"
REMAINING = LEGACY + b"remaining"


def too_many_requests(counts: HitResults, legacy: bool) -> ProblemResponse:
    """Return the 429 to a request of which *counts* are those of the limits in force, one of them reached."""
    refused = {take.rule.name: count for take, count in counts if not count.allowed}
    headers = {name.decode(): value.decode() for name, value in limit_headers(counts, legacy)}
    headers["retry-after"] = str(max(_seconds(count.retry) for count in refused.values()))
    members: dict[str, Any] = {"type": QUOTA_EXCEEDED, "violated-policies": list(refused)}
    return ProblemResponse(429, f"too many requests: {', '.join(refused)}", headers=headers, **members)


def limit_headers(counts: HitResults, legacy: bool) -> list[Header]:
    """Return the headers for *counts*; with *legacy* the ``X-RateLimit`` ones of the strictest limit too."""
    if not counts:
        return []
    policies = b", ".join(take.rule.field for take, _ in counts)
    states = b", ".join(ratelimit_member(take.rule, count) for take, count in counts)
    headers = [(b"ratelimit-policy", policies), (b"ratelimit", states)]
    return headers + _legacy_headers(counts) if legacy else headers


def add_limit_headers(headers: list[Header], counts: HitResults, legacy: bool) -> None:
    """Add those of *counts* to *headers*; of several ``X-RateLimit`` ones, those of the strictest limit stay."""
    added = limit_headers(counts, legacy)
    known = next((value for name, value in headers if name == REMAINING), None) if legacy else None
    if known is not None:
        if int(dict(added).get(REMAINING, known)) < int(known):
            drop_legacy_headers(headers)
        else:
            drop_legacy_headers(added)
    headers += added


def drop_legacy_headers(headers: list[Header]) -> None:
    """Remove the ``X-RateLimit`` headers from *headers*."""
    headers[:] = [header for header in headers if not header[0].startswith(LEGACY)]


def ratelimit_member(rule: Limit, count: LimitState) -> bytes:
    """Return the member of ``RateLimit``; a refused client is told when to try, so that Retry-After is not earlier."""
    allowed, remaining, reset, retry = count
    return rule.quoted + b";r=%d;t=%d" % (remaining, _seconds(reset if allowed else retry))


def _legacy_headers(counts: HitResults) -> list[Header]:
    take, count = min(counts, key=lambda item: (item[1].allowed, item[1].remaining))
    until = _seconds(count.reset if count.allowed else count.retry)
    return [
        (LEGACY + b"limit", b"%d" % take.rule.limit),
        (REMAINING, b"%d" % count.remaining),
        (LEGACY + b"reset", b"%d" % until),
    ]


def _seconds(microseconds: int) -> int:
    return -(-microseconds // MICROSECONDS)
