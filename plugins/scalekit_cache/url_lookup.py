"""What the cache has stored for one URL, for operators: neither bodies nor the values of secret headers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any
from urllib.parse import quote, unquote_to_bytes, urlsplit

from scalekit.contracts import SubjectIdentifier
from scalekit_cache.credentials import ALL_CREDENTIALS
from scalekit_cache.http_cache import HttpCache
from scalekit_cache.keys import ACCEPT_ENCODING, IDENTITY, IDENTITY_WITHOUT_COOKIES, MISSING, SCHEMES, resource_of
from scalekit_cache.policies import CachePolicy
from scalekit_cache.request import CacheRequest
from scalekit_cache.stored_response import ROUTE, StoredResponse, Variants
from scalekit_caching import Item, Key, TieredStore, is_purged, local_items, name_tag, read_shared

FIELDS = {
    "url": "URL, or path with query",
    "method": "Method",
    "host": "Host",
    "accept": "Accept",
    "accept-language": "Accept-Language",
    "accept-encoding": "Accept-Encoding",
}
"""The fields of the form, of which the last four are request headers."""
HEADERS = ("host", "accept", "accept-language", "accept-encoding")
MAX_RESPONSES = 100
"""Stored responses that a worker reports for one URL."""
MAX_KEYS = 16
"""Primary keys, which differ in scheme and host, for which the shared store is read."""
CODINGS = (MISSING, b"gzip", b"br", b"zstd")
"""Values of Accept-Encoding after the negotiation of the coding, which are looked up beside that of the form."""
IDENTITIES = frozenset({IDENTITY, IDENTITY_WITHOUT_COOKIES})
READABLE = (b"accept", b"origin")
"""How the names of headers begin whose values are shown; other headers may contain secrets."""
TAG_PREFIX = name_tag("")
_URL_CHARACTERS = "".join(map(chr, range(0x21, 0x7F)))


class UrlLookup:
    """The URL and the headers of *query*, for which the stored responses of *cache* are described.

    Raises ValueError with the remedy when they are not valid.
    """

    def __init__(self, cache: HttpCache, query: Mapping[str, str]) -> None:
        self._cache = cache
        self.method = query.get("method", "").strip().upper() or "GET"
        scheme, host, raw_path, raw_query = _parse(query.get("url", "").strip())
        self._schemes = [SCHEMES[scheme]] if scheme else list(SCHEMES.values())
        given = {name: query.get(name, "").strip() for name in HEADERS}
        given["host"] = given["host"] or host
        headers = [(name.encode(), text.encode("utf-8", "replace")) for name, text in given.items() if text]
        self._host = given["host"].encode("utf-8", "replace")
        self._request = CacheRequest(headers)
        self._request.parse("GET", cache.header_roles)
        scope = {
            "scheme": scheme or "http",
            "path": unquote_to_bytes(raw_path).decode("utf-8", "replace"),
            "raw_path": raw_path,
            "query_string": raw_query,
        }
        resource = resource_of(cache.policies, cache.options.sort_query, scope, self._request.relevant_headers)
        self.path = resource.path
        self.policy: CachePolicy = resource.policy
        _, self._raw_path, self._query, _ = resource.key

    def in_memory(self) -> list[dict[str, Any]]:
        """Return the descriptions of the responses in the memory of this process."""
        store = self._cache.store
        variants: dict[bytes, Variants] = {}
        found: list[tuple[Item, Variants | None]] = []
        for item in local_items(store):
            if self._matches(item.key):
                if isinstance(item, Variants):
                    variants[item.token] = item
                else:
                    found.append((item, None))
        if variants:
            found += [(item, variants[item.key[0]]) for item in local_items(store) if item.key[0] in variants]
        valid = (each for each in found if not is_purged(store, each[0]))
        return list(self._describe_all(list(islice(valid, MAX_RESPONSES))))

    async def in_shared_store(self, known: Iterable[Sequence[str]]) -> list[dict[str, Any]] | None:
        """Return those in the shared store under the *known* keys of workers, and for the host of the form.

        Return None without such a store. Raises the exceptions of the store.
        """
        store = self._cache.store
        if not isinstance(store, TieredStore):
            return None
        found_in_memory: list[Key] = [tuple(part.encode("latin-1") for part in key) for key in known]
        for_host: list[Key] = [(self._host, self._raw_path, self._query, scheme) for scheme in self._schemes]
        keys = list(dict.fromkeys((for_host if self._host else []) + found_in_memory))[:MAX_KEYS]
        items = await read_shared(store, keys) if keys else []
        by_key = {key: item for item in items if isinstance(item, Variants) for key in self._variant_keys(item)}
        variants = await read_shared(store, list(by_key)) if by_key else []
        found = [(item, None) for item in items] + [(item, by_key[item.key]) for item in variants]
        return list(self._describe_all(found))

    def _matches(self, key: Key) -> bool:
        """Return whether *key* is the primary key of a resource with the path and query, and with host and scheme."""
        return (
            len(key) >= 4
            and key[1] == self._raw_path
            and key[2] == self._query
            and key[3] in self._schemes
            and (not self._host or key[0] == self._host)
        )

    def _variant_keys(self, variants: Variants) -> Iterator[Key]:
        """Yield the keys of the variants for the headers of the form; the negotiation of the coding changes one."""
        values = self._request.variant_key(variants.names)
        yield (variants.token, *values)
        if ACCEPT_ENCODING in variants.names:
            index = variants.names.index(ACCEPT_ENCODING)
            for coding in CODINGS:
                yield (variants.token, *values[:index], coding, *values[index + 1 :])

    def _describe_all(self, found: Sequence[tuple[Item, Variants | None]]) -> Iterator[dict[str, Any]]:
        users = self._cache.credentials.users_by_identity()
        for item, variants in found:
            if isinstance(item, StoredResponse):
                key = item.key if variants is None else variants.key
                yield {
                    "key": [part.decode("latin-1") for part in key],
                    "user": _user(item, () if variants is None else variants.names, users),
                    "variant": "" if variants is None else _variant(item, variants.names),
                    **_describe(item, self._cache.clock()),
                }


def _user(item: StoredResponse, names: Sequence[bytes], users: Mapping[bytes, SubjectIdentifier]) -> str:
    """Return for whom *item*, a variant by *names*, is stored."""
    identities = [value for name, value in zip(names, item.key[1:], strict=False) if name in IDENTITIES]
    if any(identities):
        user = next((users[each] for each in identities if each in users), None)
        return "one user" if user is None else f"{user.issuer or 'application'} / {user.subject}"
    is_for_all = not identities and item.storage_policy.allowed_credentials & ALL_CREDENTIALS
    return "shared" if is_for_all else "requests without credentials"


def _variant(item: StoredResponse, names: Sequence[bytes]) -> str:
    """Return the headers of the requests for which *item* is stored, without values that may be secret."""
    parts = []
    for name, value in zip(names, item.key[1:], strict=False):
        if value == MISSING:
            parts.append(f"without {_text(name)}")
        elif name not in IDENTITIES:
            parts.append(f"{_text(name)}: {_text(value)}" if name.startswith(READABLE) else f"with {_text(name)}")
    return ", ".join(parts)


def _parse(url: str) -> tuple[str, str, bytes, bytes]:
    """Return scheme, host, path and query of *url*; scheme and host of a path are empty."""
    scheme = host = ""
    if not url.startswith("/"):
        parts = urlsplit(url)  # raises ValueError
        scheme, host = parts.scheme, parts.netloc.rpartition("@")[2]
        if scheme not in SCHEMES or not host:
            raise ValueError("unknown URL; write a path such as /products?page=1, or https://shop.example/products")
        url = f"{parts.path or '/'}?{parts.query}"
    path, _, query = url.partition("#")[0].partition("?")
    safe = _URL_CHARACTERS
    return scheme, host, quote(path, safe=safe).encode(), quote(query, safe=safe).encode()


def _describe(item: StoredResponse, now: float) -> dict[str, Any]:
    policy = item.storage_policy
    fields = {name.lower(): value for name, value in item.headers}
    window = 0.0 if policy.must_revalidate else max(policy.stale_while_revalidate, policy.stale_if_error)
    return {
        "status": item.status,
        "state": "revalidated" if policy.no_cache else "fresh" if now < item.expires else "stale",
        "type": _text(fields.get(b"content-type", b"")),
        "coding": _text(fields.get(b"content-encoding", b"")),
        "body": len(item.body),
        "etag": _text(item.etag or b""),
        "age": max(0.0, now - item.generated_at),
        "expires": item.expires,
        "stale_until": float(item.expires + window) if window else None,
        "tags": [_text(tag.removeprefix(TAG_PREFIX)) for tag in item.tags],
        "route": str(item.route_scope.get(ROUTE, "")),
    }


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")
