"""Streaming encoders of the content codings."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Protocol

GZIP_WINDOW = 31
"""Window bits of zlib that write the gzip format with the largest window."""


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


def make_encoder(coding: str, level: int) -> Encoder:
    """Return an encoder of *coding*; raise ImportError when its library is not installed."""
    return ENCODERS[coding](level)


class GzipEncoder:
    """gzip (RFC 1952)."""

    def __init__(self, level: int) -> None:
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

    def __init__(self, level: int) -> None:
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

    def __init__(self, level: int) -> None:
        import zstandard

        self._compressor = zstandard.ZstdCompressor(level=level).compressobj()
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


ENCODERS: dict[str, Callable[[int], Encoder]] = {"gzip": GzipEncoder, "br": BrotliEncoder, "zstd": ZstandardEncoder}
