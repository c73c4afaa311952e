"""Whether an answer may be kept, for whom, and in which form (RFC 9111, section 3)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from scalekit_cache.directives import Directives, parse_cache_control, parse_targeted, seconds
from scalekit_cache.entry import AUTHORIZATION, COOKIE, EVERY, Headers, Terms
from scalekit_cache.freshness import HEURISTIC_STATUSES, Fields, explicit_lifetime, heuristic_lifetime, initial_age
from scalekit_cache.policies import Policy
from scalekit_cache.vary import ANYTHING, IDENTITY, IDENTITY_WITHOUT_COOKIES, MOST, vary_names

UNDERSTOOD = frozenset(int(status) for status in HTTPStatus)
NOT_KEPT = frozenset({206, 304})
COOKIES = frozenset({b"set-cookie", b"set-cookie2"})
OF_ONE_CONNECTION = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
OF_ONE_REQUEST = frozenset({b"x-request-id", b"traceparent", b"tracestate", b"traceresponse", b"server-timing"})
LEFT_OUT = OF_ONE_CONNECTION | OF_ONE_REQUEST | COOKIES | {b"age"}


@dataclass(frozen=True)
class Rules:
    """What holds for every answer: *targeted* fields in order, and the *heuristic* share."""

    targeted: tuple[bytes, ...] = (b"cdn-cache-control",)
    heuristic: float = 0.0


@dataclass(frozen=True)
class Kept:
    """An answer may be kept: on these *terms*, varying by *names*, without the fields *without*."""

    terms: Terms
    names: tuple[bytes, ...]
    without: frozenset[bytes]


def fields_of(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Return *headers* by name in lower case, the lines of one name joined to a list."""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        lower = name.lower()
        found[lower] = found[lower] + b", " + value if lower in found else value
    return found


def directives_of(fields: Fields, targeted: Sequence[bytes]) -> tuple[Directives, bool]:
    """Return the directives that count, and whether they are those of a targeted field."""
    for name in targeted:
        found = parse_targeted(fields[name]) if name in fields else None
        if found is not None:
            return found, True
    return parse_cache_control(fields.get(b"cache-control", b"")), False


def judge(
    status: int, fields: Fields, credentials: int, policy: Policy, rules: Rules, asked: float, now: float
) -> Kept | None:
    """Return how an answer to a request with *credentials* is kept that came *now*; None when it must not be."""
    if status < 200 or status in NOT_KEPT or not COOKIES.isdisjoint(fields) or b"content-range" in fields:
        return None
    directives, is_targeted = directives_of(fields, rules.targeted)
    if _forbidden(status, directives):
        return None
    names = set(vary_names([fields.get(b"vary", b"")])) | set(policy.vary)
    if policy.by_identity:
        names.add(IDENTITY_WITHOUT_COOKIES if policy.ignores_cookies else IDENTITY)
    if ANYTHING in names or len(names) > MOST:
        return None
    covers = _covered(directives, policy, names)
    if credentials & ~covers:
        return None
    lifetime = _lifetime(status, fields, directives, is_targeted, policy, rules, now)
    if lifetime is None:
        return None
    born = now - initial_age(fields, asked, now)
    terms = _terms(directives, policy, born, lifetime, covers)
    if not _worth_it(terms, fields, now):
        return None
    return Kept(terms, tuple(sorted(names)), _withheld(fields, directives))


def _forbidden(status: int, directives: Directives) -> bool:
    if "private" in directives:
        return True
    if "must-understand" in directives:
        return status not in UNDERSTOOD
    return "no-store" in directives


def _covered(directives: Directives, policy: Policy, names: set[bytes]) -> int:
    """Return the credentials that need not keep an answer from being shared."""
    if policy.by_identity or "public" in directives or seconds(directives, "s-maxage"):
        return EVERY
    covers = COOKIE if policy.ignores_cookies or b"cookie" in names else 0
    return covers | AUTHORIZATION if b"authorization" in names else covers


def _lifetime(
    status: int, fields: Fields, directives: Directives, is_targeted: bool, policy: Policy, rules: Rules, now: float
) -> float | None:
    """Return for how long an answer is fresh, or None when nobody says so."""
    explicit = explicit_lifetime(directives, fields, is_targeted, now)
    if explicit is not None:
        return explicit
    if policy.ttl is not None and status in policy.statuses:
        return policy.ttl
    if status in HEURISTIC_STATUSES or "public" in directives:
        lifetime = heuristic_lifetime(fields, rules.heuristic, now)
        if lifetime:
            return lifetime
    says_more = {"no-cache", "stale-while-revalidate", "stale-if-error"} & directives.keys()
    return 0.0 if says_more else None


def _terms(directives: Directives, policy: Policy, born: float, lifetime: float, covers: int) -> Terms:
    while_revalidate = seconds(directives, "stale-while-revalidate")
    if_error = seconds(directives, "stale-if-error")
    # s-maxage forbids stale answers, unless the same answer expressly allows them.
    strict = not {"must-revalidate", "proxy-revalidate"}.isdisjoint(directives)
    says_so = while_revalidate is not None or if_error is not None
    strict = strict or ("s-maxage" in directives and not says_so)
    no_cache = "no-cache" in directives and not directives["no-cache"]
    return Terms(
        born,
        lifetime,
        covers,
        0.0 if strict or no_cache else policy.while_revalidate if while_revalidate is None else while_revalidate,
        0.0 if strict or no_cache else policy.if_error if if_error is None else if_error,
        no_cache,
        strict or no_cache,
        "immutable" in directives,
    )


def _worth_it(terms: Terms, fields: Fields, now: float) -> bool:
    """Tell whether an answer can be of use: fresh, stale with leave, or with something to validate it by."""
    left = terms.born + terms.lifetime - now
    if not terms.checked and left + max(terms.while_revalidate, terms.if_error) > 0:
        return True
    return b"etag" in fields or b"last-modified" in fields


def _withheld(fields: Fields, directives: Directives) -> frozenset[bytes]:
    """Return the names of what is not kept of an answer (RFC 9111, sections 3.1 and 5.2.2.4)."""
    listed = [fields.get(b"connection", b"")]
    if directives.get("no-cache"):
        listed.append(str(directives["no-cache"]).encode("latin-1"))
    return LEFT_OUT.union(name.strip().lower() for names in listed for name in names.split(b","))


def kept_headers(headers: Iterable[tuple[bytes, bytes]], without: frozenset[bytes]) -> Headers:
    """Return the fields that are kept, their names in lower case."""
    return [(lower, value) for name, value in headers if (lower := name.lower()) not in without]
