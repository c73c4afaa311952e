"""Whether answers of one kind may be kept, and for whom (RFC 9111, section 3).

An answer is of a kind with others when its status, its policy and the fields that say how it is kept are the same. Most
answers of an application are of a few kinds, so what was found for one is remembered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from http import HTTPStatus

from scalekit import REQUEST_ID, TRACEPARENT, TRACESTATE
from scalekit.contracts import CONSISTENCY_HEADER as CONSISTENCY
from scalekit_cache.cache_status import NotStored
from scalekit_cache.directives import Directives, parse_cache_control, parse_targeted, seconds
from scalekit_cache.policies import CachePolicy
from scalekit_cache.stored_response import AUTHORIZATION, COOKIE, DECLARED, EVERY, UNSEEN, StoragePolicy
from scalekit_cache.vary import ANYTHING, IDENTITY, IDENTITY_WITHOUT_COOKIES, MOST, vary_names

Fields = Mapping[bytes, bytes]

UNDERSTOOD = frozenset(int(status) for status in HTTPStatus)
HEURISTIC_STATUSES = frozenset({200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501})
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
OF_ONE_REQUEST = frozenset({REQUEST_ID, TRACEPARENT, TRACESTATE, CONSISTENCY, b"traceresponse", b"server-timing"})
LEFT_OUT = OF_ONE_CONNECTION | OF_ONE_REQUEST | COOKIES | {b"age"}
RELEVANT = LEFT_OUT | {
    b"cache-control",
    b"cache-status",
    b"content-length",
    b"content-range",
    b"date",
    b"etag",
    b"expires",
    b"last-modified",
    b"vary",
}
"""What is looked at in the head of an answer, beside targeted fields."""
REMEMBERED = 1024

Kind = tuple[object, ...]


@dataclass(frozen=True)
class StorageRules:
    """What holds for every answer: *targeted* fields in order, and the *heuristic* share."""

    targeted: tuple[bytes, ...] = (b"scalekit-cache-control", b"cdn-cache-control")
    heuristic: float = 0.0


class StoragePolicies:
    """What was found for each kind of answer, under *rules*; ``relevant`` are the fields that are looked at."""

    def __init__(self, rules: StorageRules) -> None:
        self.rules = rules
        self.relevant = RELEVANT.union(rules.targeted)
        self._telling = (b"cache-control", b"vary", b"connection", *rules.targeted)
        self._known: dict[Kind, tuple[CachePolicy, StoragePolicy | NotStored]] = {}

    def of(self, status: int, fields: Fields, policy: CachePolicy) -> StoragePolicy | NotStored:
        """Return how answers of this kind are kept, or why they must not be."""
        if b"content-range" in fields:
            return NotStored.PARTIAL
        if not COOKIES.isdisjoint(fields):
            return NotStored.SET_COOKIE
        kind: Kind = (status, id(policy), *map(fields.get, self._telling))
        known = self._known.get(kind)
        if known is None:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            # The policy is kept beside, since an id is an object's own only as long as that is there.
            known = self._known[kind] = (policy, rule(status, fields, policy, self.rules))
        return known[1]


def rule(status: int, fields: Fields, policy: CachePolicy, rules: StorageRules) -> StoragePolicy | NotStored:
    """Return how answers are kept with this *status* and these *fields*, or why they must not be."""
    if status < 200 or status in NOT_KEPT:
        return NotStored.STATUS
    directives, is_targeted = directives_of(fields, rules.targeted)
    told = {*vary_names([fields.get(b"vary", b"")]), *policy.vary}
    names = _names(told, policy)
    forbidden = _forbidden(status, directives)
    if names is None or forbidden is not None:
        return forbidden or NotStored.VARY
    explicit = next((each for name in ("s-maxage", "max-age") if (each := seconds(directives, name)) is not None), None)
    no_cache = "no-cache" in directives and not directives["no-cache"]
    strict = no_cache or _is_strict(directives)
    while_revalidate = seconds(directives, "stale-while-revalidate")
    if_error = seconds(directives, "stale-if-error")
    return StoragePolicy(
        lifetime=None if explicit is None else float(explicit),
        by_policy=policy.ttl if status in policy.statuses else None,
        expires=not is_targeted,
        heuristic=rules.heuristic if status in HEURISTIC_STATUSES or "public" in directives else 0.0,
        covers=_covered(directives, policy, told),
        while_revalidate=0.0 if strict else policy.while_revalidate if while_revalidate is None else while_revalidate,
        if_error=0.0 if strict else policy.if_error if if_error is None else if_error,
        checked=no_cache,
        strict=strict,
        immutable="immutable" in directives,
        says_more=no_cache or while_revalidate is not None or if_error is not None,
        names=names,
        without=_withheld(fields, directives),
    )


def directives_of(fields: Fields, targeted: Sequence[bytes]) -> tuple[Directives, bool]:
    """Return the directives that count, and whether they are those of a targeted field."""
    for name in targeted:
        found = parse_targeted(fields[name]) if name in fields else None
        if found is not None:
            return found, True
    return parse_cache_control(fields.get(b"cache-control", b"")), False


def _names(told: AbstractSet[bytes], policy: CachePolicy) -> tuple[bytes, ...] | None:
    """Return what the answers vary by, which is more than they have *told*; None when that is too much."""
    names = {*told, *policy.reads}
    if policy.by_identity:
        names.add(IDENTITY_WITHOUT_COOKIES if policy.ignores_cookies else IDENTITY)
    return None if ANYTHING in names or len(names) > MOST else tuple(sorted(names))


def _forbidden(status: int, directives: Directives) -> NotStored | None:
    if "private" in directives:
        return NotStored.PRIVATE
    if "must-understand" in directives:
        return None if status in UNDERSTOOD else NotStored.NOT_UNDERSTOOD
    return NotStored.NO_STORE if "no-store" in directives else None


def _is_strict(directives: Directives) -> bool:
    """Tell whether stale answers are forbidden; s-maxage does so unless the same answer expressly allows them."""
    if not {"must-revalidate", "proxy-revalidate"}.isdisjoint(directives):
        return True
    return "s-maxage" in directives and {"stale-while-revalidate", "stale-if-error"}.isdisjoint(directives)


def _covered(directives: Directives, policy: CachePolicy, names: AbstractSet[bytes]) -> int:
    """Return the credentials that need not keep an answer from being shared."""
    if policy.by_identity:
        return EVERY
    if "public" in directives or seconds(directives, "s-maxage"):
        return EVERY | UNSEEN
    covers = COOKIE if policy.ignores_cookies or b"cookie" in names else 0
    if names >= set(policy.reads):
        covers |= DECLARED
    return covers | AUTHORIZATION if b"authorization" in names else covers


def _withheld(fields: Fields, directives: Directives) -> frozenset[bytes]:
    """Return the names of what is not kept of an answer (RFC 9111, sections 3.1 and 5.2.2.4)."""
    listed = [fields.get(b"connection", b"")]
    if directives.get("no-cache"):
        listed.append(str(directives["no-cache"]).encode("latin-1"))
    return LEFT_OUT.union(name.strip().lower() for names in listed for name in names.split(b","))
