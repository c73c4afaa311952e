"""Decide whether a response may be stored and which requests may reuse it (RFC 9111, section 3).

Responses with the same status, cache policy and caching headers have the same storage policy, which is cached: most
responses of an application have one of a few.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from http import HTTPStatus

from scalekit import REQUEST_ID, TRACEPARENT, TRACESTATE
from scalekit.contracts import CONSISTENCY_HEADER
from scalekit_cache.cache_status import Headers, NotStored, reason_for_credentials
from scalekit_cache.credentials import ALL_CREDENTIALS, APPLICATION_USER, AUTHORIZATION, COOKIE, DECLARED
from scalekit_cache.directives import Directives, parse_cache_control, parse_targeted, seconds
from scalekit_cache.freshness import Freshness, expires_lifetime, format_date, heuristic_lifetime, initial_age
from scalekit_cache.keys import ANY, IDENTITY, IDENTITY_WITHOUT_COOKIES, MAX_VARY, vary_names
from scalekit_cache.policies import CachePolicy
from scalekit_cache.stored_response import StoragePolicy

Fields = Mapping[bytes, bytes]

UNDERSTOOD_STATUSES = frozenset(int(status) for status in HTTPStatus)
HEURISTIC_STATUSES = frozenset({200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501})
UNSTORABLE_STATUSES = frozenset({206, 304})
SET_COOKIE_FIELDS = frozenset({b"set-cookie", b"set-cookie2"})
HOP_BY_HOP_FIELDS = frozenset(
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
PER_REQUEST_FIELDS = frozenset(
    {REQUEST_ID, TRACEPARENT, TRACESTATE, CONSISTENCY_HEADER, b"traceresponse", b"server-timing"}
)
EXCLUDED_FIELDS = HOP_BY_HOP_FIELDS | PER_REQUEST_FIELDS | SET_COOKIE_FIELDS | {b"age"}
RELEVANT_FIELDS = EXCLUDED_FIELDS | {
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
"""Response headers that are read, beside targeted ones."""
MAX_CACHED = 1024
"""Maximum number of storage policies that are cached."""
MAX_LENGTH_DIGITS = 18
"""Digits of a ``Content-Length`` that is parsed; Python refuses to parse thousands."""

PolicyKey = tuple[object, ...]


@dataclass(frozen=True)
class StorageRules:
    """Settings for every response: *targeted_headers* in order of precedence, and *heuristic_fraction*."""

    targeted_headers: tuple[bytes, ...] = (b"scalekit-cache-control", b"cdn-cache-control")
    heuristic_fraction: float = 0.0


class StoragePolicies:
    """Derives storage policies by *rules* and caches them; ``relevant_fields`` are the headers that they depend on."""

    def __init__(self, rules: StorageRules) -> None:
        self.rules = rules
        self.relevant_fields = RELEVANT_FIELDS.union(rules.targeted_headers)
        self._key_fields = (b"cache-control", b"vary", b"connection", *rules.targeted_headers)
        self._entries: dict[PolicyKey, tuple[CachePolicy, StoragePolicy | NotStored]] = {}

    def for_response(self, status: int, fields: Fields, policy: CachePolicy) -> StoragePolicy | NotStored:
        """Return the storage policy of a response, or why it must not be stored."""
        if b"content-range" in fields:
            return NotStored.PARTIAL
        if not SET_COOKIE_FIELDS.isdisjoint(fields):
            return NotStored.SET_COOKIE
        key: PolicyKey = (status, id(policy), *map(fields.get, self._key_fields))
        entry = self._entries.get(key)
        if entry is None:
            if len(self._entries) >= MAX_CACHED:
                self._entries.clear()
            # The value references the policy, because an id is unique only during an object's lifetime.
            entry = self._entries[key] = (policy, storage_policy(status, fields, policy, self.rules))
        return entry[1]


def storage_policy(status: int, fields: Fields, policy: CachePolicy, rules: StorageRules) -> StoragePolicy | NotStored:
    """Return the storage policy of responses with this *status* and these *fields*, or why they are not stored."""
    if status < 200 or status in UNSTORABLE_STATUSES:
        return NotStored.STATUS
    directives, is_targeted = effective_directives(fields, rules.targeted_headers)
    named = {*vary_names([fields.get(b"vary", b"")]), *policy.vary}
    vary = _vary(named, policy)
    forbidden = _forbidden(status, directives)
    if vary is None or forbidden is not None:
        return forbidden or NotStored.VARY
    explicit = next((each for name in ("s-maxage", "max-age") if (each := seconds(directives, name)) is not None), None)
    no_cache = "no-cache" in directives and not directives["no-cache"]
    must_revalidate = no_cache or _must_revalidate(directives)
    while_revalidate = seconds(directives, "stale-while-revalidate")
    if_error = seconds(directives, "stale-if-error")
    heuristic = status in HEURISTIC_STATUSES or "public" in directives
    return StoragePolicy(
        explicit_lifetime=None if explicit is None else float(explicit),
        default_ttl=policy.ttl if status in policy.statuses else None,
        uses_expires=not is_targeted,
        heuristic_fraction=rules.heuristic_fraction if heuristic else 0.0,
        allowed_credentials=_allowed_credentials(directives, policy, named),
        stale_while_revalidate=_stale_window(must_revalidate, policy.stale_while_revalidate, while_revalidate),
        stale_if_error=_stale_window(must_revalidate, policy.stale_if_error, if_error),
        no_cache=no_cache,
        must_revalidate=must_revalidate,
        immutable="immutable" in directives,
        has_extensions=no_cache or while_revalidate is not None or if_error is not None,
        vary=vary,
        excluded_fields=_excluded_fields(fields, directives),
    )


def effective_directives(fields: Fields, targeted_headers: Sequence[bytes]) -> tuple[Directives, bool]:
    """Return the directives that apply, and whether they are those of a targeted field."""
    for name in targeted_headers:
        found = parse_targeted(fields[name]) if name in fields else None
        if found is not None:
            return found, True
    return parse_cache_control(fields.get(b"cache-control", b"")), False


def _vary(named: AbstractSet[bytes], policy: CachePolicy) -> tuple[bytes, ...] | None:
    """Return the names of the secondary key, from the *named* headers and *policy*; None when there are too many."""
    names = {*named, *policy.credential_headers}
    if policy.by_identity:
        names.add(IDENTITY_WITHOUT_COOKIES if policy.ignores_cookies else IDENTITY)
    return None if ANY in names or len(names) > MAX_VARY else tuple(sorted(names))


def _forbidden(status: int, directives: Directives) -> NotStored | None:
    if "private" in directives:
        return NotStored.PRIVATE
    if "must-understand" in directives:
        return None if status in UNDERSTOOD_STATUSES else NotStored.MUST_UNDERSTAND
    return NotStored.NO_STORE if "no-store" in directives else None


def _must_revalidate(directives: Directives) -> bool:
    """Return whether stale reuse is forbidden; s-maxage forbids it unless the same response expressly allows it."""
    if not {"must-revalidate", "proxy-revalidate"}.isdisjoint(directives):
        return True
    return "s-maxage" in directives and {"stale-while-revalidate", "stale-if-error"}.isdisjoint(directives)


def _stale_window(must_revalidate: bool, default: float, directive: int | None) -> float:
    if must_revalidate:
        return 0.0
    return default if directive is None else directive


def _allowed_credentials(directives: Directives, policy: CachePolicy, named: AbstractSet[bytes]) -> int:
    """Return the credentials that do not prevent a request from reusing the response."""
    if policy.by_identity:
        return ALL_CREDENTIALS
    if "public" in directives or seconds(directives, "s-maxage"):
        return ALL_CREDENTIALS | APPLICATION_USER
    allowed = COOKIE if policy.ignores_cookies or b"cookie" in named else 0
    if named >= set(policy.credential_headers):
        allowed |= DECLARED
    return allowed | AUTHORIZATION if b"authorization" in named else allowed


def _excluded_fields(fields: Fields, directives: Directives) -> frozenset[bytes]:
    """Return the names of headers that are not stored (RFC 9111, sections 3.1 and 5.2.2.4)."""
    lists = [fields.get(b"connection", b"")]
    if directives.get("no-cache"):
        lists.append(str(directives["no-cache"]).encode("latin-1"))
    return EXCLUDED_FIELDS.union(name.strip().lower() for names in lists for name in names.split(b","))


def evaluate(
    status: int,
    fields: Fields,
    policy: CachePolicy,
    policies: StoragePolicies,
    missing_credentials: Callable[[StoragePolicy], int],
    *,
    requested_at: float,
    now: float,
) -> Freshness | NotStored:
    """Return the freshness of a response received *now*, or why it must not be stored.

    *fields* are its relevant headers. *missing_credentials* returns the credentials of the request that a storage
    policy does not allow.
    """
    storage = policies.for_response(status, fields, policy)
    if isinstance(storage, NotStored):
        return storage
    missing = missing_credentials(storage)
    if missing:
        return reason_for_credentials(missing)
    age = initial_age(fields, requested_at, now) if b"date" in fields or b"age" in fields else 0.0
    lifetime = _lifetime(storage, fields, now)
    if lifetime is None:
        return NotStored.NO_LIFETIME
    window = max(storage.stale_while_revalidate, storage.stale_if_error)
    is_reusable = lifetime - age + window > 0 and not storage.no_cache
    if is_reusable or b"etag" in fields or b"last-modified" in fields:
        return Freshness(storage, now - age, lifetime)
    return NotStored.STALE


def _lifetime(storage: StoragePolicy, fields: Fields, now: float) -> float | None:
    """Return the freshness lifetime in seconds, or None when nothing specifies it."""
    if storage.explicit_lifetime is not None:
        return storage.explicit_lifetime
    if storage.uses_expires and b"expires" in fields:
        return expires_lifetime(fields, now)
    if storage.default_ttl is not None:
        return storage.default_ttl
    fraction = storage.heuristic_fraction
    lifetime = heuristic_lifetime(fields, fraction, now) if fraction else 0.0
    return lifetime if lifetime or storage.has_extensions else None


def fields_of(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Return *headers* by name in lower case, with repeated ones joined to a list."""
    fields: dict[bytes, bytes] = {}
    for name, value in headers:
        lower = name.lower()
        fields[lower] = fields[lower] + b", " + value if lower in fields else value
    return fields


def select_fields(headers: Iterable[tuple[bytes, bytes]], names: frozenset[bytes]) -> dict[bytes, bytes]:
    """Return those of *headers* whose name is in *names*, by name in lower case."""
    fields: dict[bytes, bytes] = {}
    for name, value in headers:
        lower = name.lower()
        if lower in names:
            fields[lower] = fields[lower] + b", " + value if lower in fields else value
    return fields


def exclude_fields(headers: Iterable[tuple[bytes, bytes]], names: frozenset[bytes]) -> Headers:
    """Return *headers* without those in *names*, with names in lower case."""
    return [(lower, value) for name, value in headers if (lower := name.lower()) not in names]


def exceeds_length(length: bytes, limit: int) -> bool:
    """Return whether the ``Content-Length`` *length* is above *limit* bytes."""
    return length.isdigit() and (len(length) > MAX_LENGTH_DIGITS or int(length) > limit)


def add_date(headers: Headers, fields: Fields, now: float) -> Headers:
    """Return *headers*, extended by ``Date`` when it is missing in *fields* (RFC 9110, section 6.6.1)."""
    if b"date" not in fields:
        headers.append((b"date", format_date(int(now))))
    return headers
