"""Cache keys: the primary key of a resource, and the secondary key by ``Vary`` (RFC 9111, sections 2 and 4.1)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from urllib.parse import parse_qsl, unquote_to_bytes

from starlette.types import Scope

from scalekit import route_path
from scalekit_cache.policies import CachePolicies
from scalekit_caching import Key

SCHEMES = {"http": b"http", "https": b"https"}

_REWRITING = (
    b"forwarded",
    b"front-end-https",
    b"x-envoy-original-path",
    b"x-forwarded-host",
    b"x-forwarded-method",
    b"x-forwarded-path",
    b"x-forwarded-pathbase",
    b"x-forwarded-port",
    b"x-forwarded-prefix",
    b"x-forwarded-proto",
    b"x-forwarded-protocol",
    b"x-forwarded-scheme",
    b"x-forwarded-server",
    b"x-forwarded-ssl",
    b"x-forwarded-uri",
    b"x-forwarded-url",
    b"x-host",
    b"x-http-host-override",
    b"x-http-method",
    b"x-http-method-override",
    b"x-http-path-override",
    b"x-method-override",
    b"x-original-host",
    b"x-original-method",
    b"x-original-prefix",
    b"x-original-proto",
    b"x-original-uri",
    b"x-original-url",
    b"x-proxy-host",
    b"x-proxy-url",
    b"x-replaced-path",
    b"x-rewrite-url",
    b"x-script-name",
    b"x-url-scheme",
)
REWRITING = frozenset({*_REWRITING, *(name.replace(b"-", b"_") for name in _REWRITING)})
"""Headers that may change the URL or method that the application sees; their values become part of the key."""

ANY = b"*"
IDENTITY = b":identity"
IDENTITY_WITHOUT_COOKIES = b":identity-without-cookies"
"""Names in a secondary key that stand for the user's identity; no header has such a name."""
MAX_VARY = 16
"""Maximum number of names in a secondary key; a response that varies by more is not stored."""
MAX_CACHED_VALUE = 256
"""Maximum size in bytes of a header value whose normalized form is cached; most clients send one of a few values."""

MISSING = b"\0"
"""Stands in a secondary key for a header that the request does not have."""
ACCEPT_ENCODING = b"accept-encoding"
_UNORDERED = frozenset({ACCEPT_ENCODING, b"accept-charset"})
"""Lists whose order has no meaning; that of languages and media types has in many applications."""
_PLAIN_NAME = re.compile(rb"[A-Za-z0-9_.~*:,\[\]-]*")
_INVALID_NAME = re.compile(rb"%(?![0-9A-Fa-f]{2})|[\x00-\x20\x7f-\xff]")


class Resource:
    """A resource, in raw bytes: *key* is its primary key, *path* selects its *policy*.

    *rewriting* are the request headers that may change the URL that the application sees.
    """

    __slots__ = ("host", "key", "path", "policy", "raw_path", "rewriting", "scheme")

    def __init__(
        self,
        policies: CachePolicies,
        sort_query: bool,
        *,
        scheme: str,
        host: bytes,
        raw_path: bytes,
        query: bytes,
        path: str,
        rewriting: tuple[tuple[bytes, bytes], ...],
    ) -> None:
        self.scheme = scheme
        self.host = host
        self.raw_path = raw_path
        self.path = path
        self.rewriting = rewriting
        self.policy = policies.for_path(path, raw_path)
        if query:
            query = canonical_query(query, self.policy.query, sort_query)
        self.key: Key = primary_key(scheme, host, raw_path, query, rewriting)

    def sibling(self, policies: CachePolicies, sort_query: bool, raw_path: bytes, query: bytes) -> Resource:
        """Return another resource of the same host."""
        return Resource(
            policies,
            sort_query,
            scheme=self.scheme,
            host=self.host,
            raw_path=raw_path,
            query=query,
            path=unquote_to_bytes(raw_path).decode("utf-8", "replace"),
            rewriting=self.rewriting,
        )


def resource_of(policies: CachePolicies, sort_query: bool, scope: Scope, fields: Mapping[bytes, bytes]) -> Resource:
    """Return the resource of *scope*, whose relevant headers are in *fields*."""
    rewriting = [(name, fields[name]) for name in sorted(REWRITING & fields.keys())]
    root_path = scope.get("root_path")
    if root_path:  # URLs in a response may contain it
        rewriting.append((b":root-path", root_path.encode("utf-8", "surrogatepass")))
    return Resource(
        policies,
        sort_query,
        scheme=scope["scheme"],
        host=fields.get(b"host") or _server(scope),
        raw_path=scope.get("raw_path") or scope["path"].encode("utf-8", "surrogatepass"),
        query=scope["query_string"],
        path=route_path(scope) if root_path else scope["path"],
        rewriting=tuple(rewriting),
    )


def _server(scope: Scope) -> bytes:
    """Return the address of the server, which replaces a missing ``Host``."""
    host, port = scope.get("server") or ("", None)
    default = {"http": 80, "https": 443}.get(scope["scheme"])
    return (host if port is None or port == default else f"{host}:{port}").encode()


def primary_key(
    scheme: str, host: bytes, path: bytes, query: bytes, rewriting: Iterable[tuple[bytes, bytes]] = ()
) -> Key:
    """Return the primary key of a resource, without the variant."""
    key: Key = (host, path, query, SCHEMES.get(scheme) or scheme.encode())
    for field in rewriting:
        key += field
    return key


def canonical_query(query: bytes, names: frozenset[bytes] | None, is_sorted: bool) -> bytes:
    """Return *query* with only the parameters in *names* (None for all), sorted by name if *is_sorted*.

    Names are compared decoded; the parts keep their encoding. Parts that applications may parse in different ways
    remain, and so does the order of a query with such a part, and of several values of one name.
    """
    if not query or (names is None and (not is_sorted or b"&" not in query)):
        return query
    parts = [(parameter_name(part), part) for part in query.split(b"&")]
    if names is not None:
        stems = _stems(names)
        parts = [(name, part) for name, part in parts if name is None or _stem(name) in stems]
    if is_sorted and len(parts) > 1 and all(name is not None for name, _ in parts):
        parts.sort(key=lambda each: _stem(each[0] or b""))
    return b"&".join([part for _, part in parts])


def parameter_name(part: bytes) -> bytes | None:
    """Return the decoded name of a *part* of a query, or None when applications may parse it in different ways.

    Such parts contain ``;``, which some parsers take as a separator, or a name with surrounding blanks, control
    characters, unencoded bytes or an invalid encoding.
    """
    name = part.partition(b"=")[0]
    if b";" in part or b"%3b" in name.lower():
        return None
    if _PLAIN_NAME.fullmatch(name):
        return name
    if _INVALID_NAME.search(name):
        return None
    decoded = unquote_to_bytes(name.replace(b"+", b" "))
    try:
        text = decoded.decode()
    except UnicodeDecodeError:
        return None
    return decoded if text == text.strip() and text.isprintable() else None


def has_secret_parameter(query: bytes, secrets: frozenset[bytes], names: frozenset[bytes] | None) -> bool:
    """Return whether *query* has a parameter of *secrets* that is not one of the *names* in the key."""
    if names is None or not query:
        return False
    found = {name.encode() for name, _ in parse_qsl(query.decode("latin-1"), keep_blank_values=True)}
    return not found.isdisjoint(secrets - names)


@lru_cache
def _stems(names: frozenset[bytes]) -> frozenset[bytes]:
    return frozenset(map(_stem, names))


def _stem(name: bytes) -> bytes:
    """Return *name* without an index: some parsers read ``tag[]`` and ``tag[0]`` as one list."""
    return name.partition(b"[")[0]


def vary_names(values: Iterable[bytes]) -> tuple[bytes, ...]:
    """Return the names in the ``Vary`` fields *values*, in lower case and sorted."""
    names = {name.strip().lower() for value in values for name in value.split(b",")}
    return tuple(sorted(names - {b""}))


def variant_key(names: Iterable[bytes], headers: Mapping[bytes, bytes]) -> tuple[bytes, ...]:
    """Return the secondary key of a request with *headers* for a response that varies by *names*."""
    return tuple([normalize(name, headers.get(name)) for name in names])


def normalize(name: bytes, value: bytes | None) -> bytes:
    """Return *value* in the form that is compared: without blanks, and without order where the field has none.

    A missing header differs from an empty one.
    """
    if value is None:
        return MISSING
    return _normalize_cached(name, value) if len(value) <= MAX_CACHED_VALUE else _normalize(name, value)


def _normalize(name: bytes, value: bytes) -> bytes:
    if b"," not in value or b'"' in value:  # a quoted string may contain commas and blanks
        return value.strip()
    parts = [part.strip() for part in value.split(b",")]
    if name in _UNORDERED:
        parts = sorted({part.replace(b" ", b"").lower() for part in parts if part})
    return b",".join(parts)


_normalize_cached = lru_cache(maxsize=2048)(_normalize)
