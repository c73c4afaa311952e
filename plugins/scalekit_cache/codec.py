"""Items as bytes, for a store outside the process, and back.

A frame is a digest of the rest, the length of a head, the head as JSON, and a body. What comes from outside is taken
for what it says only after all of it was looked at; nothing in it is ever executed.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import orjson

from scalekit_cache.entry import Entry, Item, Ruling, Value, Variants
from scalekit_cache.keys import Key

MAGIC = b"SKc1"
_DIGEST = 16
_LENGTH = 4
_START = len(MAGIC) + _DIGEST + _LENGTH
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


class Corrupt(ValueError):
    """The bytes are no frame that this version has written."""


def encode(item: Item) -> bytes:
    """Return *item* as bytes."""
    head: dict[str, Any] = {"key": _texts(item.key), "tags": _texts(item.tags), "since": item.since}
    body = b""
    if isinstance(item, Entry):
        ruling = item.ruling
        head |= {
            "status": item.status,
            "born": item.born,
            "expires": item.expires,
            "path": item.path,
            "name": _text(item.name),
        }
        head |= {"early": item.early if item.early < item.expires else None}
        head |= {"headers": [[_text(name), _text(value)] for name, value in item.headers]}
        head |= {"ruling": {name: getattr(ruling, name) for name in _RULING}}
        head |= {"names": _texts(ruling.names), "without": _texts(sorted(ruling.without))}
        body = item.body
    elif isinstance(item, Value):
        head |= {"expires": item.expires}
        body = item.frame
    elif isinstance(item, Variants):
        head |= {"names": _texts(item.names), "token": _text(item.token)}
    told = orjson.dumps(head)
    rest = len(told).to_bytes(_LENGTH, "big") + told + body
    return MAGIC + blake2b(rest, digest_size=_DIGEST).digest() + rest


def decode(frame: bytes, key: Key) -> Item:
    """Return the item in *frame*, which was kept under *key*. Raises Corrupt when there is none."""
    rest = frame[len(MAGIC) + _DIGEST :]
    if (
        frame[: len(MAGIC)] != MAGIC
        or frame[len(MAGIC) : -len(rest) or None] != blake2b(rest, digest_size=_DIGEST).digest()
    ):
        raise Corrupt("another digest or version")
    end = _START + int.from_bytes(rest[:_LENGTH], "big")
    try:
        return _item(_Head(orjson.loads(frame[_START:end])), frame[end:], key)
    except Corrupt:
        raise
    except (KeyError, TypeError, AttributeError, UnicodeEncodeError, ValueError) as error:
        raise Corrupt(f"no item: {type(error).__name__}") from None


class _Head:
    """Fields whose types are checked as they are read."""

    def __init__(self, fields: Any) -> None:
        self.fields = fields

    def get(self, name: str, *types: type) -> Any:
        value = self.fields[name]
        if type(value) not in types:
            raise TypeError(name)
        return value

    def encoded(self, name: str) -> bytes:
        return _bytes(self.fields[name])

    def all_encoded(self, name: str) -> tuple[bytes, ...]:
        return tuple(map(_bytes, self.get(name, list)))


def _item(head: _Head, body: bytes, key: Key) -> Item:
    if head.all_encoded("key") != key:
        raise Corrupt("the item of another key")
    tags, since = head.all_encoded("tags"), head.get("since", int)
    if "status" in head.fields:
        return _entry(head, body, key, tags, since)
    if "token" in head.fields:
        return Variants(key, head.all_encoded("names"), head.encoded("token"))
    return Value(key, body, float(head.get("expires", int, float)), tags, since)


def _entry(head: _Head, body: bytes, key: Key, tags: tuple[bytes, ...], since: int) -> Entry:
    told = _Head(head.get("ruling", dict))
    fields = {name: told.get(name, *types) for name, types in _RULING.items()}
    ruling = Ruling(**fields, names=head.all_encoded("names"), without=frozenset(head.all_encoded("without")))
    headers = [(_bytes(name), _bytes(value)) for name, value in head.get("headers", list)]
    born, early = float(head.get("born", int, float)), head.get("early", int, float, type(None))
    return Entry(
        key,
        head.get("status", int),
        headers,
        body,
        ruling,
        born,
        float(head.get("expires", int, float)) - born,
        etag=next((value for name, value in headers if name == b"etag"), None),
        modified=next((value for name, value in headers if name == b"last-modified"), None),
        name=head.encoded("name"),
        path=head.get("path", str),
        early=float("inf") if early is None else float(early),
        tags=tags,
        since=since,
    )


def _text(value: bytes) -> str:
    return value.decode("latin-1")


def _texts(values: Any) -> list[str]:
    return [value.decode("latin-1") for value in values]


def _bytes(value: Any) -> bytes:
    encoded: bytes = value.encode("latin-1")
    return encoded
