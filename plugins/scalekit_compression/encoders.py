"""Streaming encoders of the content codings."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Protocol

GZIP_WINDOW = 31
"""Window bits of zlib that write the gzip format with the largest window."""
ZSTD_STREAM_LEVEL = 3
"""Highest level of Zstandard of streams: for a body of unknown size level 19 allocates 80 MiB, level 3 less than 1."""
KIB = 1024
THREAD_SIZES: Mapping[str, tuple[tuple[int, int], ...]] = {
    "gzip": ((4, 64 * KIB), (9, 32 * KIB)),
    "br": ((5, 64 * KIB), (8, 32 * KIB), (10, 2 * KIB), (11, KIB)),
    "zstd": ((11, 64 * KIB), (16, 16 * KIB), (19, 8 * KIB)),
}
"""By coding, highest level and bytes: JSON of fewer bytes took about 2 ms at most, measured at every level."""


class Encoder(Protocol):
    """Compresses one body."""

    def encode(self, data: bytes) -> bytes:
        """Return the next compressed bytes, which may be none."""
        ...

    def flush(self) -> bytes:
        """Return the buffered bytes, so that the client can decode everything up to here."""
        ...

    def finish(self) -> bytes:
        """Return the end of the body."""
        ...


def make_encoder(coding: str, level: int, size: int | None = None) -> Encoder:
    """Return an encoder of *coding* for a body of *size* bytes, or for a stream.

    Raises ImportError when the library of *coding* is not installed.
    """
    return ENCODERS[coding](level, size)


def stream_level(coding: str, level: int) -> int:
    """Return the level for a stream, whose size is unknown."""
    return min(level, ZSTD_STREAM_LEVEL) if coding == "zstd" else level


@lru_cache
def thread_size(coding: str, level: int) -> int:
    """Return the bytes from which compression runs in a thread, because it would block the event loop."""
    return next(size for highest, size in THREAD_SIZES[coding] if level <= highest)


class GzipEncoder:
    """gzip (RFC 1952)."""

    def __init__(self, level: int, size: int | None = None) -> None:
        self._compressor = zlib.compressobj(level, zlib.DEFLATED, GZIP_WINDOW)

    def encode(self, data: bytes) -> bytes:
        """Return the next compressed bytes, which may be none."""
        return self._compressor.compress(data)

    def flush(self) -> bytes:
        """Return the buffered bytes."""
        return self._compressor.flush(zlib.Z_SYNC_FLUSH)

    def finish(self) -> bytes:
        """Return the end of the body."""
        return self._compressor.flush(zlib.Z_FINISH)


class BrotliEncoder:
    """Brotli (RFC 7932)."""

    def __init__(self, level: int, size: int | None = None) -> None:
        import brotli

        self._compressor = brotli.Compressor(quality=level)

    def encode(self, data: bytes) -> bytes:
        """Return the next compressed bytes, which may be none."""
        return bytes(self._compressor.process(data))

    def flush(self) -> bytes:
        """Return the buffered bytes."""
        return bytes(self._compressor.flush())

    def finish(self) -> bytes:
        """Return the end of the body."""
        return bytes(self._compressor.finish())


class ZstandardEncoder:
    """Zstandard (RFC 8878) with the window of at most 8 MiB that RFC 9659 asks for."""

    def __init__(self, level: int, size: int | None = None) -> None:
        import zstandard

        self._compressor = zstandard.ZstdCompressor(level=level).compressobj(size=-1 if size is None else size)
        self._flush_block = zstandard.COMPRESSOBJ_FLUSH_BLOCK

    def encode(self, data: bytes) -> bytes:
        """Return the next compressed bytes, which may be none."""
        return self._compressor.compress(data)

    def flush(self) -> bytes:
        """Return the buffered bytes."""
        return self._compressor.flush(self._flush_block)

    def finish(self) -> bytes:
        """Return the end of the body."""
        return self._compressor.flush()


ENCODERS: dict[str, Callable[[int, int | None], Encoder]] = {
    "gzip": GzipEncoder,
    "br": BrotliEncoder,
    "zstd": ZstandardEncoder,
}
