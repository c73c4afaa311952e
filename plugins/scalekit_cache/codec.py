"""Encode stored responses and variants as bytes for a shared store, and decode them."""

from __future__ import annotations

import struct
from math import isfinite
from struct import Struct
from typing import Any

import orjson

from scalekit_cache.cache_status import Headers
from scalekit_cache.stored_response import ROUTE, StoragePolicy, StoredResponse, Variants, route_scope_of
from scalekit_caching import Corrupt, Item, ItemCodec, Key, path_tags

_RESPONSE = Struct(">HdddhhIII")
"""Status, generated_at, expires, refresh_at; indexes of ETag and Last-Modified; lengths of terms, path and headers."""
_VARIANTS = Struct(">I")
_POLICY_FIELDS: dict[str, tuple[type, ...]] = {
    "explicit_lifetime": (int, float, type(None)),
    "default_ttl": (int, float, type(None)),
    "uses_expires": (bool,),
    "heuristic_fraction": (int, float),
    "allowed_credentials": (int,),
    "stale_while_revalidate": (int, float),
    "stale_if_error": (int, float),
    "no_cache": (bool,),
    "must_revalidate": (bool,),
    "immutable": (bool,),
    "has_extensions": (bool,),
}
ABSENT = -1

MAX_CACHED = 1024
"""Maximum number of terms that are cached; most responses of a service have one of a few."""
MAX_CACHED_BYTES = 4096
"""Maximum size of encoded terms that are cached, in bytes."""

Terms = tuple[StoragePolicy, tuple[bytes, ...], bytes, str]
"""Parts that many responses share: storage policy, tags, the name of the cache, and the template of the route."""


class HttpCodec(ItemCodec):
    """Encodes and decodes stored responses, variants and values."""

    def __init__(self) -> None:
        super().__init__()
        self.decoders |= {b"e": self._decode_response, b"x": _decode_variants}
        self._terms: dict[bytes, Terms] = {}
        self._encoded_terms: dict[Terms, bytes] = {}

    def parts(self, item: Item) -> tuple[bytes, tuple[bytes, ...]]:
        """Return the kind of *item*, and its parts between head and checksum."""
        if isinstance(item, StoredResponse):
            return b"e", self._response_parts(item)
        if isinstance(item, Variants):
            names = self.encode_list(item.names)
            return b"x", (_VARIANTS.pack(len(names)), names, item.token)
        return super().parts(item)

    def tags_in(self, kind: bytes, head: bytes, offset: int) -> tuple[bytes, ...]:
        """Return the tags of an item of *kind*; those of a response include the tags of its path."""
        if kind != b"e":
            return super().tags_in(kind, head, offset)
        *_, terms_length, path_length, _ = _RESPONSE.unpack_from(head, offset)
        offset += _RESPONSE.size
        end = offset + terms_length
        _, tags, *_ = self._decode_terms(head[offset:end])
        path = head[end : end + path_length].decode("utf-8", "surrogatepass")
        return (*tags, *path_tags(path))

    def route_and_size(self, head: bytes) -> tuple[str, int] | None:
        """Return the route and the encoded size of a response from the first bytes of its data; None for others."""
        outline = self.read_head(head)
        if outline is None or outline.kind != b"e":
            return None
        try:
            *_, terms_length, _, _ = _RESPONSE.unpack_from(head, outline.offset)
            start = outline.offset + _RESPONSE.size
            return self._decode_terms(head[start : start + terms_length])[-1], outline.size
        except (struct.error, LookupError, TypeError, ValueError):  # another version, or terms beyond the head
            return None

    def _response_parts(self, response: StoredResponse) -> tuple[bytes, ...]:
        route: str = response.route_scope.get(ROUTE, "")
        terms = self._encode_terms((response.storage_policy, response.tags, response.cache_name, route))
        path = response.path.encode("utf-8", "surrogatepass")
        headers = b"\n".join([part for field in response.headers for part in field])
        if response.headers and headers.count(b"\n") != 2 * len(response.headers) - 1:
            raise ValueError("a header contains a line feed")
        names = [name for name, _ in response.headers]
        head = _RESPONSE.pack(
            response.status,
            response.generated_at,
            response.expires,
            response.refresh_at,
            names.index(b"etag") if b"etag" in names else ABSENT,
            names.index(b"last-modified") if b"last-modified" in names else ABSENT,
            len(terms),
            len(path),
            len(headers),
        )
        return head, terms, path, headers, response.body

    def _decode_response(self, frame: bytes, offset: int, key: Key, since: int) -> StoredResponse:
        (
            status,
            generated_at,
            expires,
            refresh_at,
            etag,
            last_modified,
            terms_length,
            path_length,
            headers_length,
        ) = _RESPONSE.unpack_from(frame, offset)
        if not isfinite(generated_at + expires) or refresh_at != refresh_at:
            raise Corrupt("invalid time")
        offset += _RESPONSE.size
        terms_end = offset + terms_length
        path_end = terms_end + path_length
        end = path_end + headers_length
        headers = _decode_headers(frame[path_end:end])
        policy, tags, cache_name, route = self._decode_terms(frame[offset:terms_end])
        return StoredResponse(
            key,
            status,
            headers,
            ItemCodec.body_of(frame, end),
            policy,
            generated_at=generated_at,
            lifetime=expires - generated_at,
            etag=None if etag < 0 else headers[etag][1],
            last_modified=None if last_modified < 0 else headers[last_modified][1],
            cache_name=cache_name,
            path=frame[terms_end:path_end].decode("utf-8", "surrogatepass"),
            refresh_at=refresh_at,
            tags=tags,
            since=since,
            route_scope=route_scope_of(route),
        )

    def _decode_terms(self, encoded_terms: bytes) -> Terms:
        terms = self._terms.get(encoded_terms)
        if terms is None:
            terms = _terms(orjson.loads(encoded_terms))
            if len(encoded_terms) <= MAX_CACHED_BYTES:
                if len(self._terms) >= MAX_CACHED:
                    self._terms.clear()
                self._terms[encoded_terms] = terms
        return terms

    def _encode_terms(self, terms: Terms) -> bytes:
        encoded_terms = self._encoded_terms.get(terms)
        if encoded_terms is None:
            encoded_terms = _json(*terms)
            if len(self._encoded_terms) >= MAX_CACHED:
                self._encoded_terms.clear()
            self._encoded_terms[terms] = encoded_terms
        return encoded_terms


def _decode_headers(lines: bytes) -> Headers:
    if not lines:
        return []
    parts = lines.split(b"\n")
    return list(zip(parts[::2], parts[1::2], strict=True))


def _json(policy: StoragePolicy, tags: tuple[bytes, ...], cache_name: bytes, route: str) -> bytes:
    fields: dict[str, Any] = {name: getattr(policy, name) for name in _POLICY_FIELDS}
    fields["route"] = route.encode("utf-8", "replace").decode()
    lists = {
        "vary": policy.vary,
        "excluded_fields": sorted(policy.excluded_fields),
        "tags": tags,
        "cache_name": [cache_name],
    }
    fields |= {key: [value.decode("latin-1") for value in values] for key, values in lists.items()}
    return orjson.dumps(fields, default=float)  # a Duration is a float


def _terms(fields: Any) -> Terms:
    for key, types in _POLICY_FIELDS.items():
        if type(fields[key]) not in types:
            raise TypeError(key)
    policy = StoragePolicy(
        **{key: fields[key] for key in _POLICY_FIELDS},
        vary=ItemCodec.to_bytes(fields["vary"]),
        excluded_fields=frozenset(ItemCodec.to_bytes(fields["excluded_fields"])),
    )
    (cache_name,) = ItemCodec.to_bytes(fields["cache_name"])
    return policy, ItemCodec.to_bytes(fields["tags"]), cache_name, str(fields["route"])


def _decode_variants(frame: bytes, offset: int, key: Key, since: int) -> Variants:
    (length,) = _VARIANTS.unpack_from(frame, offset)
    offset += _VARIANTS.size
    end = offset + length
    return Variants(key, ItemCodec.decode_list(frame[offset:end]), ItemCodec.body_of(frame, end))
