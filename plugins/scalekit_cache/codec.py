"""Answers as bytes, for a store outside the process, and back."""

from __future__ import annotations

from math import isfinite
from struct import Struct
from typing import Any

import orjson

from scalekit_cache.stored_response import Headers, StoragePolicy, StoredResponse, Variants
from scalekit_caching.codec import HEAD, Corrupt, ItemCodec, body_of, encoded, listed, unlisted
from scalekit_caching.items import Item, Key
from scalekit_caching.tags import path_tags

_ENTRY = Struct(">HdddhhIII")
"""Status, when it was born, expires, and is made anew; where its validators are; the lengths of what follows."""
_VARIANTS = Struct(">I")
_RULING: dict[str, tuple[type, ...]] = {
    "lifetime": (int, float, type(None)),
    "by_policy": (int, float, type(None)),
    "expires": (bool,),
    "heuristic": (int, float),
    "covers": (int,),
    "while_revalidate": (int, float),
    "if_error": (int, float),
    "checked": (bool,),
    "strict": (bool,),
    "immutable": (bool,),
    "says_more": (bool,),
}
NOWHERE = -1

REMEMBERED = 1024
"""Terms that are remembered: most answers of a service have those of a few."""
LONGEST_REMEMBERED = 4096
"""Bytes of terms that are remembered by them."""

Terms = tuple[StoragePolicy, tuple[bytes, ...], bytes]
"""What many answers have in common: how they are kept, their tags, and the name of the cache."""


class HttpCodec(ItemCodec):
    """Bytes of answers, of what they vary by, and of values."""

    def __init__(self) -> None:
        super().__init__()
        self.readers |= {b"e": self._entry, b"x": _variants}
        self._terms: dict[bytes, Terms] = {}
        self._told: dict[Terms, bytes] = {}

    def parts(self, item: Item) -> tuple[bytes, tuple[bytes, ...]]:
        """Return the kind of *item*, and what comes between head and checksum."""
        if isinstance(item, StoredResponse):
            return b"e", self._entry_parts(item)
        if isinstance(item, Variants):
            names = listed(item.names)
            return b"x", (_VARIANTS.pack(len(names)), names, item.token)
        return super().parts(item)

    def tags_in(self, kind: bytes, head: bytes) -> tuple[bytes, ...]:
        """Return the tags of an item of *kind*; those of an answer have those of its path among them."""
        if kind != b"e":
            return super().tags_in(kind, head)
        *_, of_terms, of_path, _ = _ENTRY.unpack_from(head, HEAD.size)
        place = HEAD.size + _ENTRY.size
        _, tags, _ = self._terms_of(head[place : place + of_terms])
        path = head[place + of_terms : place + of_terms + of_path].decode("utf-8", "surrogatepass")
        return (*tags, *path_tags(path))

    def _entry_parts(self, entry: StoredResponse) -> tuple[bytes, ...]:
        terms = self._terms_told((entry.ruling, entry.tags, entry.name))
        path = entry.path.encode("utf-8", "surrogatepass")
        headers = b"\n".join([part for field in entry.headers for part in field])
        if entry.headers and headers.count(b"\n") != 2 * len(entry.headers) - 1:
            raise ValueError("a header with a line feed in it")
        names = [name for name, _ in entry.headers]
        head = _ENTRY.pack(
            entry.status,
            entry.born,
            entry.expires,
            entry.early,
            names.index(b"etag") if b"etag" in names else NOWHERE,
            names.index(b"last-modified") if b"last-modified" in names else NOWHERE,
            len(terms),
            len(path),
            len(headers),
        )
        return head, terms, path, headers, entry.body

    def _entry(self, frame: bytes, place: int, key: Key, since: int) -> StoredResponse:
        status, born, expires, early, etag, modified, of_terms, of_path, of_headers = _ENTRY.unpack_from(frame, place)
        if not isfinite(born + expires) or early != early:
            raise Corrupt("no time")
        place += _ENTRY.size
        after_terms = place + of_terms
        after_path = after_terms + of_path
        end = after_path + of_headers
        headers = _headers(frame[after_path:end])
        ruling, tags, name = self._terms_of(frame[place:after_terms])
        return StoredResponse(
            key,
            status,
            headers,
            body_of(frame, end),
            ruling,
            born,
            expires - born,
            None if etag < 0 else headers[etag][1],
            None if modified < 0 else headers[modified][1],
            name,
            frame[after_terms:after_path].decode("utf-8", "surrogatepass"),
            early,
            tags,
            since,
        )

    def _terms_of(self, told: bytes) -> Terms:
        found = self._terms.get(told)
        if found is None:
            found = _terms(orjson.loads(told))
            if len(told) <= LONGEST_REMEMBERED:
                if len(self._terms) >= REMEMBERED:
                    self._terms.clear()
                self._terms[told] = found
        return found

    def _terms_told(self, terms: Terms) -> bytes:
        told = self._told.get(terms)
        if told is None:
            told = _told(*terms)
            if len(self._told) >= REMEMBERED:
                self._told.clear()
            self._told[terms] = told
        return told


def _headers(told: bytes) -> Headers:
    if not told:
        return []
    parts = told.split(b"\n")
    return list(zip(parts[::2], parts[1::2], strict=True))


def _told(ruling: StoragePolicy, tags: tuple[bytes, ...], name: bytes) -> bytes:
    fields: dict[str, Any] = {name: getattr(ruling, name) for name in _RULING}
    lists = {"names": ruling.names, "without": sorted(ruling.without), "tags": tags, "name": [name]}
    fields |= {key: [value.decode("latin-1") for value in values] for key, values in lists.items()}
    return orjson.dumps(fields, default=float)  # a duration is a float to everybody else


def _terms(fields: Any) -> Terms:
    for key, types in _RULING.items():
        if type(fields[key]) not in types:
            raise TypeError(key)
    ruling = StoragePolicy(
        **{key: fields[key] for key in _RULING},
        names=encoded(fields["names"]),
        without=frozenset(encoded(fields["without"])),
    )
    (name,) = encoded(fields["name"])
    return ruling, encoded(fields["tags"]), name


def _variants(frame: bytes, place: int, key: Key, since: int) -> Variants:
    (length,) = _VARIANTS.unpack_from(frame, place)
    place += _VARIANTS.size
    return Variants(key, unlisted(frame[place : place + length]), body_of(frame, place + length))
