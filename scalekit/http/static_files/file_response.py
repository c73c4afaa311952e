"""The response to a request for a file: status, headers, and the parts of the file that are its body."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import stat_result
from secrets import token_hex

from starlette.types import Receive, Send

from scalekit.http.static_files.byte_ranges import parse_ranges
from scalekit.http.static_files.file_lookup import OpenFile
from scalekit.http.static_files.preconditions import (
    NOT_MODIFIED,
    Fields,
    Validators,
    allows_range,
    failed_precondition,
)

CHUNK = 256 * 1024
"""Bytes that are read and sent at once."""
SETTLED = 2.0
"""Seconds after which a change of a file has another modification time than the change before, on every file system."""
EARLIEST = 315_619_200
"""1980-01-02: tools for reproducible builds set modification times before it, equal for every content of a file."""
OK, PARTIAL, UNSATISFIABLE = 200, 206, 416

Header = tuple[bytes, bytes]
Body = list[bytes | range]
"""Literal bytes, and ranges of the file."""


@dataclass(slots=True)
class FileResponse:
    """A response whose *body* is made of literal bytes and of ranges of *file*."""

    status: int
    headers: list[Header]
    body: Body
    file: OpenFile

    def prepare(self) -> None:
        """Read a short body at once, and close the file when nothing is left to read. Blocks."""
        if len(self.body) == 1 and isinstance(self.body[0], range) and len(self.body[0]) <= CHUNK:
            self.body = [self.file.read(self.body[0].start, len(self.body[0]))]
        if not any(isinstance(piece, range) for piece in self.body):
            self.file.close()

    async def send(self, receive: Receive, send: Send) -> None:
        """Send the response; the file is read in a thread, one chunk after the other, as fast as the client reads."""
        try:
            await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
            if any(isinstance(piece, range) for piece in self.body):
                await self._stream(receive, send)
            else:
                await send({"type": "http.response.body", "body": b"".join(map(bytes, self.body))})
        finally:
            self.file.close()

    async def _stream(self, receive: Receive, send: Send) -> None:
        remaining = sum(map(len, self.body))
        disconnect = asyncio.ensure_future(_wait_for_disconnect(receive))  # servers ignore what is sent after it
        try:
            for piece in _chunks(self.body):
                if disconnect.done():
                    return disconnect.result()
                data = piece if isinstance(piece, bytes) else await self._read(piece)
                remaining -= len(data)
                await send({"type": "http.response.body", "body": data, "more_body": remaining > 0})
        finally:
            disconnect.cancel()

    async def _read(self, piece: range) -> bytes:
        return await asyncio.to_thread(self.file.read, piece.start, len(piece))


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _chunks(body: Sequence[bytes | range]) -> Iterator[bytes | range]:
    for piece in body:
        if isinstance(piece, range):
            yield from (piece[start : start + CHUNK] for start in range(0, len(piece), CHUNK))
        else:
            yield piece


def file_response(
    file: OpenFile, fields: Fields, *, method: str, content_type: str, cache_control: str
) -> FileResponse | int:
    """Return the response to *method*, GET or HEAD, with the request headers *fields*.

    Return a status for a response without the file: 412 or 416.
    """
    validators = validators_of(file.stat, file.coding, time.time())
    metadata = {"cache-control": cache_control}
    if validators is not None:
        metadata |= {"etag": validators.etag, "last-modified": validators.last_modified}
    if file.varies:
        metadata["vary"] = "Accept-Encoding"
    status = failed_precondition(fields, validators)
    if status == NOT_MODIFIED:
        return FileResponse(status, _encode(metadata), [], file)
    if status:
        return status
    metadata |= {"accept-ranges": "bytes", "content-type": content_type}
    if file.coding:
        metadata["content-encoding"] = file.coding
    ranges = None
    if method == "GET" and "range" in fields and allows_range(fields, validators):
        ranges = parse_ranges(fields["range"], file.stat.st_size)
    if ranges is not None and not ranges:
        return UNSATISFIABLE
    return _with_body(file, metadata, ranges, is_head=method == "HEAD")


def validators_of(stat: stat_result, coding: str, now: float) -> Validators | None:
    """Return the validators of a file with *stat* at the time *now*; None when its modification time says nothing.

    They depend on modification time and size only, so that several machines with the same files have the same ones. The
    tag is weak while a second change could have the same modification time (RFC 9110, section 8.8.1).
    """
    if stat.st_mtime < EARLIEST:
        return None
    suffix = f"-{coding}" if coding else ""
    weak = "W/" if now - stat.st_mtime < SETTLED else ""
    return Validators(f'{weak}"{stat.st_mtime_ns:x}-{stat.st_size:x}{suffix}"', int(stat.st_mtime))


def _with_body(
    file: OpenFile, metadata: dict[str, str], ranges: Sequence[range] | None, *, is_head: bool
) -> FileResponse:
    size = file.stat.st_size
    if ranges is None:
        body: Body = [range(size)]
    elif len(ranges) == 1:
        body = [ranges[0]]
        metadata["content-range"] = _content_range(ranges[0], size)
    else:
        boundary = token_hex(16)
        body = _multipart(ranges, size, boundary, metadata["content-type"])
        metadata["content-type"] = f"multipart/byteranges; boundary={boundary}"
    metadata["content-length"] = str(sum(map(len, body)))
    return FileResponse(OK if ranges is None else PARTIAL, _encode(metadata), [] if is_head else body, file)


def _multipart(ranges: Sequence[range], size: int, boundary: str, content_type: str) -> Body:
    body: Body = []
    for each in ranges:
        fields = f"Content-Type: {content_type}\r\nContent-Range: {_content_range(each, size)}"
        body += [f"\r\n--{boundary}\r\n{fields}\r\n\r\n".encode(), each]
    return [*body, f"\r\n--{boundary}--\r\n".encode()]


def _content_range(each: range, size: int) -> str:
    return f"bytes {each.start}-{each.stop - 1}/{size}"


def _encode(metadata: dict[str, str]) -> list[Header]:
    return [(name.encode(), value.encode("latin-1")) for name, value in metadata.items()]
