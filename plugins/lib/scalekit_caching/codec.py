"""Items as bytes, for a store outside the process, and back.

A frame has a head of fixed size, what its kind of item needs, a body, and a checksum. The head names what it is kept
under, so that a frame in the wrong place is none. What comes from outside is taken for what it says only after all of
it was looked at; nothing in it is ever executed.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from math import isfinite
from struct import Struct
from typing import Any, Protocol
from zlib import crc32

import orjson

from scalekit_caching.items import Item, Key, Value

MAGIC = b"SKc3"
HEAD = Struct(">4sI64scQ")
"""Magic, length of the frame, name, kind, and the number of the purge before it."""
_SUM = Struct("<I")
WHOLE = 0x2144DF1C
"""What CRC-32 makes of anything with its own checksum behind it, so that nothing has to be cut off to be checked."""
_VALUE = Struct(">dI")
"""When it expires, and the length of its tags."""


class Corrupt(ValueError):
    """The bytes are no frame that this version has written."""


class Codec(Protocol):
    """Turns the items of one cache into bytes and back."""

    def encode(self, item: Item, name: bytes) -> bytes:
        """Return *item*, which is kept under *name*, as bytes."""
        ...

    def decode(self, frame: bytes, name: bytes, key: Key) -> Item:
        """Return the item in *frame*, kept under *name*, which stands for *key*. Raises Corrupt when there is none."""
        ...


Reader = Callable[[bytes, int, Key, int], Item]
"""Makes an item of a frame, from a place on, for a key, and of the number of the purge before it."""


class ItemCodec:
    """Bytes of values. A subclass adds kinds of items to *readers*, and to *parts*."""

    def __init__(self) -> None:
        self.readers: dict[bytes, Reader] = {b"v": _value}

    def encode(self, item: Item, name: bytes) -> bytes:
        """Return *item*, which is kept under *name*, as bytes."""
        kind, parts = self.parts(item)
        length = HEAD.size + sum(map(len, parts)) + _SUM.size
        frame = b"".join((HEAD.pack(MAGIC, length, name, kind, item.since), *parts))
        return frame + _SUM.pack(crc32(frame))

    def decode(self, frame: bytes, name: bytes, key: Key) -> Item:
        """Return the item in *frame*, kept under *name*, which stands for *key*. Raises Corrupt when there is none."""
        try:
            magic, length, under, kind, since = HEAD.unpack_from(frame)
            if magic != MAGIC or length != len(frame) or crc32(frame) != WHOLE:
                raise Corrupt("another checksum or version")
            if under != name:
                raise Corrupt("the item of another key")
            return self.readers[kind](frame, HEAD.size, key, since)
        except Corrupt:
            raise
        except (struct.error, LookupError, TypeError, AttributeError, ValueError) as error:
            raise Corrupt(f"no item: {type(error).__name__}") from None

    def tags_of(self, head: bytes) -> tuple[int, tuple[bytes, ...]] | None:
        """Return the number of the purge before an item, and its tags, from the *head* of its frame; None without."""
        try:
            magic, _, _, kind, since = HEAD.unpack_from(head)
            return (since, self.tags_in(kind, head)) if magic == MAGIC else None
        except (struct.error, LookupError, ValueError):
            return None

    def tags_in(self, kind: bytes, head: bytes) -> tuple[bytes, ...]:
        """Return the tags of an item of *kind*. Raises LookupError for what has none."""
        if kind != b"v":
            raise LookupError(kind)
        _, length = _VALUE.unpack_from(head, HEAD.size)
        place = HEAD.size + _VALUE.size
        return unlisted(head[place : place + length])

    def parts(self, item: Item) -> tuple[bytes, tuple[bytes, ...]]:
        """Return the kind of *item*, and what comes between head and checksum."""
        if not isinstance(item, Value):
            raise TypeError(f"no bytes stand for a {type(item).__name__}")
        tags = listed(item.tags)
        return b"v", (_VALUE.pack(item.expires, len(tags)), tags, item.frame)


def _value(frame: bytes, place: int, key: Key, since: int) -> Value:
    expires, length = _VALUE.unpack_from(frame, place)
    place += _VALUE.size
    if not isfinite(expires):
        raise Corrupt("no time")
    end = place + length
    return Value(key, body_of(frame, end), expires, unlisted(frame[place:end]), since)


def body_of(frame: bytes, place: int) -> bytes:
    """Return what is in *frame* from *place* on."""
    return frame[place : -_SUM.size]


def listed(values: Iterable[bytes]) -> bytes:
    """Return *values* as one, empty where there are none."""
    texts = [value.decode("latin-1") for value in values]
    return orjson.dumps(texts) if texts else b""


def unlisted(told: bytes) -> tuple[bytes, ...]:
    """Return the values of which *told* was made."""
    return encoded(orjson.loads(told)) if told else ()


def encoded(values: Any) -> tuple[bytes, ...]:
    """Return the bytes of which the texts *values* were made; raises TypeError for anything else."""
    if type(values) is not list:
        raise TypeError(type(values).__name__)
    return tuple([value.encode("latin-1") for value in values])
