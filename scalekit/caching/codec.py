"""Items as bytes, for a store outside the process, and back.

A frame is a digest of the rest, the length of a head, the head as JSON, and a body. What comes from outside is taken
for what it says only after all of it was looked at; nothing in it is ever executed.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any, Protocol

import orjson

from scalekit.caching.items import Item, Key, Value

MAGIC = b"SKc2"
_DIGEST = 16
_LENGTH = 4
_START = len(MAGIC) + _DIGEST + _LENGTH


class Corrupt(ValueError):
    """The bytes are no frame that this version has written."""


class Codec(Protocol):
    """Turns the items of one cache into bytes and back."""

    def encode(self, item: Item) -> bytes:
        """Return *item* as bytes."""
        ...

    def decode(self, frame: bytes, key: Key) -> Item:
        """Return the item in *frame*, which was kept under *key*. Raises Corrupt when there is none."""
        ...


class Head:
    """Fields whose types are checked as they are read."""

    def __init__(self, fields: Any) -> None:
        self.fields = fields

    def get(self, name: str, *types: type) -> Any:
        """Return the field *name*; raises TypeError when it is of none of *types*."""
        value = self.fields[name]
        if type(value) not in types:
            raise TypeError(name)
        return value

    def encoded(self, name: str) -> bytes:
        """Return the field *name* as the bytes that it was made of."""
        return from_text(self.fields[name])

    def all_encoded(self, name: str) -> tuple[bytes, ...]:
        """Return the same of a list."""
        return tuple([value.encode("latin-1") for value in self.get(name, list)])


class ItemCodec:
    """Bytes of values. A subclass adds kinds of items with *_told* and *_made*."""

    def encode(self, item: Item) -> bytes:
        """Return *item* as bytes."""
        head: dict[str, Any] = {"key": texts(item.key), "tags": texts(item.tags), "since": item.since}
        more, body = self._told(item)
        told = orjson.dumps(head | more, default=float)  # a duration is a float to everybody else
        rest = len(told).to_bytes(_LENGTH, "big") + told + body
        return MAGIC + blake2b(rest, digest_size=_DIGEST).digest() + rest

    def decode(self, frame: bytes, key: Key) -> Item:
        """Return the item in *frame*, which was kept under *key*. Raises Corrupt when there is none."""
        rest = frame[len(MAGIC) + _DIGEST :]
        if (
            frame[: len(MAGIC)] != MAGIC
            or frame[len(MAGIC) : -len(rest) or None] != blake2b(rest, digest_size=_DIGEST).digest()
        ):
            raise Corrupt("another digest or version")
        end = _START + int.from_bytes(rest[:_LENGTH], "big")
        try:
            head = Head(orjson.loads(frame[_START:end]))
            if head.all_encoded("key") != key:
                raise Corrupt("the item of another key")
            return self._made(head, frame[end:], key, head.all_encoded("tags"), head.get("since", int))
        except Corrupt:
            raise
        except (KeyError, TypeError, AttributeError, UnicodeEncodeError, ValueError) as error:
            raise Corrupt(f"no item: {type(error).__name__}") from None

    def _told(self, item: Item) -> tuple[dict[str, Any], bytes]:
        """Return what the head says of *item*, and its body."""
        if not isinstance(item, Value):
            raise TypeError(f"no bytes stand for a {type(item).__name__}")
        return {"expires": item.expires}, item.frame

    def _made(self, head: Head, body: bytes, key: Key, tags: tuple[bytes, ...], since: int) -> Item:
        """Return the item that *head* tells of."""
        return Value(key, body, float(head.get("expires", int, float)), tags, since)


def text(value: bytes) -> str:
    """Return *value* as JSON can hold it."""
    return value.decode("latin-1")


def texts(values: Iterable[bytes]) -> list[str]:
    """Return *values* as JSON can hold them."""
    return [value.decode("latin-1") for value in values]


def from_text(value: Any) -> bytes:
    """Return the bytes that *value* was made of."""
    encoded: bytes = value.encode("latin-1")
    return encoded
