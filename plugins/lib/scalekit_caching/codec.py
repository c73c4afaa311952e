"""Encoding of items for a shared store.

An encoded item has a header of fixed size, fields of its kind, a body and a checksum. The header contains the name of
the key, so that an item under a wrong key is detected. Data is validated completely before it is used, and nothing in
it is ever executed.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from math import isfinite
from struct import Struct
from typing import NamedTuple, Protocol
from zlib import crc32

import orjson

from scalekit_caching.items import Item, Key, Value

MAGIC = b"SKc3"
HEAD = Struct(">4sI64scQ")
"""Magic, length of the encoded item, name, kind, and the tag version when the computation of the item started."""
_SUM = Struct("<I")
CRC_RESIDUE = 0x2144DF1C
"""The CRC-32 of any data followed by its own checksum, so that nothing has to be cut off to check it."""
_VALUE = Struct(">dI")
"""The time of expiry, and the length of the tags."""


class Corrupt(ValueError):
    """The data is no item of this version of the format."""


class ItemHead(NamedTuple):
    """What an encoded item begins with: its kind, its size in bytes, and the offset of the fields of its kind."""

    kind: bytes
    size: int
    offset: int


class Codec(Protocol):
    """Encodes and decodes the items of one cache."""

    def encode(self, item: Item, name: bytes) -> bytes:
        """Return *item*, stored under *name*, as bytes."""
        ...

    def decode(self, data: bytes, name: bytes, key: Key) -> Item:
        """Return the item in *data*, stored under *name*, the digest of *key*. Raises Corrupt for invalid data."""
        ...


Decoder = Callable[[bytes, int, Key, int], Item]
"""Returns the item of a key from data, an offset into the data, and the tag version when its computation started."""


class ItemCodec:
    """Codec of values. A subclass adds kinds of items to *decoders*, and to *parts*."""

    def __init__(self) -> None:
        self.decoders: dict[bytes, Decoder] = {b"v": _decode_value}

    def encode(self, item: Item, name: bytes) -> bytes:
        """Return *item*, stored under *name*, as bytes."""
        kind, parts = self.parts(item)
        length = HEAD.size + sum(map(len, parts)) + _SUM.size
        data = b"".join((HEAD.pack(MAGIC, length, name, kind, item.version_at_start), *parts))
        return data + _SUM.pack(crc32(data))

    def decode(self, data: bytes, name: bytes, key: Key) -> Item:
        """Return the item in *data*, stored under *name*, the digest of *key*. Raises Corrupt for invalid data."""
        try:
            magic, length, stored_name, kind, version_at_start = HEAD.unpack_from(data)
            if magic != MAGIC or length != len(data) or crc32(data) != CRC_RESIDUE:
                raise Corrupt("wrong checksum, length or version")
            if stored_name != name:
                raise Corrupt("the item of another key")
            return self.decoders[kind](data, HEAD.size, key, version_at_start)
        except Corrupt:
            raise
        except (struct.error, LookupError, TypeError, AttributeError, ValueError) as error:
            raise Corrupt(f"invalid fields: {type(error).__name__}") from None

    @staticmethod
    def read_head(head: bytes) -> ItemHead | None:
        """Return the head of an item from the first bytes of its data, or None for another format."""
        if len(head) < HEAD.size:
            return None
        magic, size, _, kind, _ = HEAD.unpack_from(head)
        return ItemHead(kind, size, HEAD.size) if magic == MAGIC else None

    def tags_of(self, head: bytes) -> tuple[int, tuple[bytes, ...]] | None:
        """Return the tag version and the tags of an item from the first bytes of its data; None without tags."""
        try:
            magic, _, _, kind, version_at_start = HEAD.unpack_from(head)
            return (version_at_start, self.tags_in(kind, head, HEAD.size)) if magic == MAGIC else None
        except (struct.error, LookupError, ValueError):
            return None

    def tags_in(self, kind: bytes, head: bytes, offset: int) -> tuple[bytes, ...]:
        """Return the tags of an item of *kind*, whose fields begin at *offset*. Raises LookupError without tags."""
        if kind != b"v":
            raise LookupError(kind)
        _, length = _VALUE.unpack_from(head, offset)
        offset += _VALUE.size
        return self.decode_list(head[offset : offset + length])

    def parts(self, item: Item) -> tuple[bytes, tuple[bytes, ...]]:
        """Return the kind of *item*, and the data between header and checksum."""
        if not isinstance(item, Value):
            raise TypeError(f"a {type(item).__name__} cannot be encoded")
        tags = self.encode_list(item.tags)
        return b"v", (_VALUE.pack(item.expires, len(tags)), tags, item.payload)

    @staticmethod
    def body_of(data: bytes, offset: int) -> bytes:
        """Return the body of *data*, which begins at *offset*."""
        return data[offset : -_SUM.size]

    @staticmethod
    def encode_list(values: Iterable[bytes]) -> bytes:
        """Return *values* as JSON, empty when there are none."""
        texts = [value.decode("latin-1") for value in values]
        return orjson.dumps(texts) if texts else b""

    @staticmethod
    def decode_list(data: bytes) -> tuple[bytes, ...]:
        """Return the values that :meth:`encode_list` has encoded."""
        return ItemCodec.to_bytes(orjson.loads(data)) if data else ()

    @staticmethod
    def to_bytes(values: object) -> tuple[bytes, ...]:
        """Return the texts of a JSON list as bytes; raises TypeError for anything else."""
        if type(values) is not list:
            raise TypeError(type(values).__name__)
        return tuple([value.encode("latin-1") for value in values])


def _decode_value(data: bytes, offset: int, key: Key, version_at_start: int) -> Value:
    expires, length = _VALUE.unpack_from(data, offset)
    offset += _VALUE.size
    if not isfinite(expires):
        raise Corrupt("the time of expiry is not finite")
    end = offset + length
    tags = ItemCodec.decode_list(data[offset:end])
    return Value(key, ItemCodec.body_of(data, end), expires, tags, version_at_start)
