"""Encode the head of a response: status line and header fields.

Field names recur, so valid names are cached. Values do not: all values are validated in one pass, by deleting every
byte that is allowed in a value from the whole head and counting the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from uvicorn.protocols.http.httptools_impl import HEADER_RE, HEADER_VALUE_RE, STATUS_LINE

from scalekit.http.response import LocalResponse

Header = tuple[bytes, bytes]

MAX_CACHED_NAMES = 1000
"""Maximum number of field names that are cached."""
MAX_CACHED_NAME_LENGTH = 100
VALUE_BYTES = bytes(byte for byte in range(256) if not HEADER_VALUE_RE.match(bytes([byte])))
"""All bytes that are allowed in a field value."""
FRAMING_FIELDS = frozenset({b"content-length", b"transfer-encoding", b"connection"})
"""Fields that delimit a response. They are not cached, because their values must be interpreted."""
DATE = b"date"
INVALID_VALUE = "Invalid HTTP header value."

_prefixes: dict[bytes, bytes] = {}
_last_defaults: tuple[Sequence[Header], bytes, bytes] = ((), b"\r\n", b"\r\n")


class Framing:
    """How one response is delimited, as its header fields say."""

    __slots__ = ("chunked", "closes", "has_date", "length")
    chunked: bool | None
    length: float
    has_date: bool
    """Whether the application sends a Date field itself, such as that of a stored response."""

    def __init__(self) -> None:
        self.chunked = None
        self.length = 0
        self.closes = self.has_date = False


def header_lines(headers: Iterable[Header], framing: Framing) -> list[bytes]:
    """Return the lines of *headers*, and record in *framing* how they delimit the response.

    Raises RuntimeError for an invalid field name.
    """
    found = []
    for name, value in headers:
        begin = _prefixes.get(name)
        if begin is None:
            begin = _line_prefix(name, value, framing)
        found.append(begin + value)
    return found


def default_header_lines(defaults: Iterable[Header], framing: Framing) -> list[bytes]:
    """Return the lines of the server's default fields; a Date field of the application replaces the server's."""
    if framing.has_date:
        defaults = [field for field in defaults if field[0] != DATE]
    return header_lines(defaults, framing)


class EncodedHead(NamedTuple):
    """The encoded status line and fields of a response that is sent repeatedly; *has_date* as in Framing."""

    lines: bytes
    has_date: bool


def encode_local(response: LocalResponse, headers: Sequence[Header], defaults: Sequence[Header]) -> bytes | None:
    """Return the head of *response* with *headers*; the response's own fields are encoded only once.

    The head keeps the connection open. Return None when :func:`header_lines` has to encode it: the response's own
    fields were changed, or the response is not delimited by Content-Length.
    """
    cached: EncodedHead | None = response.encoded
    if cached is None:
        cached = response.encoded = _encode_own(response)
    if headers is response.headers:  # as filters leave it that add no field
        return cached.lines + _encode_defaults(defaults, cached.has_date) if cached.lines else None
    count = len(response.headers)
    if not cached.lines or headers[:count] != response.headers:
        return None
    added = b""
    for name, value in headers[count:]:
        prefix = _prefixes.get(name)
        if prefix is None:
            return None
        added += prefix + value + b"\r\n"
    if len(added.translate(None, VALUE_BYTES)) != 2 * (len(headers) - count):
        raise RuntimeError(INVALID_VALUE)
    return cached.lines + added + _encode_defaults(defaults, cached.has_date)


def _encode_own(response: LocalResponse) -> EncodedHead:
    """Return the head of *response* itself, without lines when it must be encoded each time."""
    framing = Framing()
    head = encode(response.status, header_lines(response.headers, framing))
    framed = framing.chunked is False and framing.length == len(response.body) and not framing.closes
    return EncodedHead(head[:-2] if framed else b"", framing.has_date)


def _encode_defaults(defaults: Sequence[Header], has_date: bool) -> bytes:
    """Return the default fields and the end of the head; uvicorn creates a new list of defaults every second."""
    global _last_defaults
    known, undated_end, dated_end = _last_defaults
    if known is not defaults:
        end = b"\r\n"
        undated_end = b"".join([line + end for line in header_lines(defaults, Framing())]) + end
        others = [field for field in defaults if field[0] != DATE]
        dated_end = b"".join([line + end for line in header_lines(others, Framing())]) + end
        _last_defaults = defaults, undated_end, dated_end
    return dated_end if has_date else undated_end


def encode(status: int, lines: list[bytes]) -> bytes:
    """Return the bytes of a head; raises RuntimeError when a value contains a byte that could end its line."""
    rest = b"\r\n".join([*lines, b"\r\n"])
    if len(rest.translate(None, VALUE_BYTES)) != 2 * len(lines) + 2:
        raise RuntimeError(INVALID_VALUE)
    return STATUS_LINE[status] + rest


def _line_prefix(name: bytes, value: bytes, framing: Framing) -> bytes:
    """Return the beginning of the line of field *name*, up to its value."""
    if name in FRAMING_FIELDS:
        _apply_framing(name, value, framing)
        return name + b": "
    if name.lower() == DATE:
        framing.has_date = True
        return DATE + b": "
    if HEADER_RE.search(name):
        raise RuntimeError("Invalid HTTP header name.")
    lower = name.lower()
    if lower in FRAMING_FIELDS:
        _apply_framing(lower, value, framing)
    elif len(_prefixes) < MAX_CACHED_NAMES and len(name) <= MAX_CACHED_NAME_LENGTH:
        _prefixes[name] = lower + b": "
    return lower + b": "


def _apply_framing(name: bytes, value: bytes, framing: Framing) -> None:
    if name == b"content-length":
        if framing.chunked is None:
            framing.length = int(value.decode())
            framing.chunked = False
    elif name == b"transfer-encoding":
        if value.lower() == b"chunked":
            framing.length = 0
            framing.chunked = True
    elif b"close" in [token.lower().strip() for token in value.split(b",")]:
        framing.closes = True
