"""The head of an answer, as bytes on the wire.

Names recur from answer to answer, so those that were found valid are remembered. Values do not: all of them are looked
at in one go, by what is left of the whole head when every byte that a value may hold is taken out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from uvicorn.protocols.http.httptools_impl import HEADER_RE, HEADER_VALUE_RE, STATUS_LINE

from scalekit.http.response import LocalResponse

Header = tuple[bytes, bytes]

REMEMBERED = 1000
"""How many names are remembered."""
LONGEST_REMEMBERED = 100
PLAIN = bytes(byte for byte in range(256) if not HEADER_VALUE_RE.match(bytes([byte])))
"""Every byte that a value may hold."""
FRAMING = frozenset({b"content-length", b"transfer-encoding", b"connection"})
"""Names that say where an answer ends. They are not remembered, since their values must be looked at."""
DATE = b"date"
INVALID_VALUE = "Invalid HTTP header value."

_remembered: dict[bytes, bytes] = {}
_last_defaults: tuple[Sequence[Header], bytes, bytes] = ((), b"\r\n", b"\r\n")


class Framing:
    """How the end of one answer is told."""

    chunked: bool | None = None
    length: float = 0
    closes = False
    dated = False
    """Whether the application itself says when it made the answer, which may be long ago."""


def lines(headers: Iterable[Header], framing: Framing) -> list[bytes]:
    """Return the lines of *headers*, and note in *framing* what they say of the answer's end.

    Raises RuntimeError for a name that is not valid.
    """
    found = []
    for name, value in headers:
        begin = _remembered.get(name)
        if begin is None:
            begin = _begin(name, value, framing)
        found.append(begin + value)
    return found


def default_lines(defaults: Iterable[Header], framing: Framing) -> list[bytes]:
    """Return the lines of what the server says of itself; of two dates the application's counts."""
    if framing.dated:
        defaults = [field for field in defaults if field[0] != DATE]
    return lines(defaults, framing)


class EncodedHead(NamedTuple):
    """The status line and lines of a response that is sent again and again; *dated* as in Framing."""

    lines: bytes
    dated: bool


def encode_local(response: LocalResponse, headers: Sequence[Header], defaults: Sequence[Header]) -> bytes | None:
    """Return the head of *response* with *headers*, of which its own are encoded only once.

    It keeps the connection open. None where :func:`lines` has to encode it: its own headers were changed, or one says
    in another way than by a Content-Length where the response ends.
    """
    known: EncodedHead | None = response.encoded
    if known is None:
        known = response.encoded = _encode_own(response)
    count = len(response.headers)
    if not known.lines or headers[:count] != response.headers:
        return None
    added = b""
    for name, value in headers[count:]:
        begin = _remembered.get(name)
        if begin is None:
            return None
        added += begin + value + b"\r\n"
    if len(added.translate(None, PLAIN)) != 2 * (len(headers) - count):
        raise RuntimeError(INVALID_VALUE)
    return known.lines + added + _encode_defaults(defaults, known.dated)


def _encode_own(response: LocalResponse) -> EncodedHead:
    """Return the head of *response* by itself, without lines where it must be encoded each time."""
    framing = Framing()
    head = encode(response.status, lines(response.headers, framing))
    framed = framing.chunked is False and framing.length == len(response.body) and not framing.closes
    return EncodedHead(head[:-2] if framed else b"", framing.dated)


def _encode_defaults(defaults: Sequence[Header], dated: bool) -> bytes:
    """Return the lines of what the server says of itself, and the end of a head; uvicorn has a new list each second."""
    global _last_defaults
    known, undated_end, dated_end = _last_defaults
    if known is not defaults:
        end = b"\r\n"
        undated_end = b"".join([line + end for line in lines(defaults, Framing())]) + end
        others = [field for field in defaults if field[0] != DATE]
        dated_end = b"".join([line + end for line in lines(others, Framing())]) + end
        _last_defaults = defaults, undated_end, dated_end
    return dated_end if dated else undated_end


def encode(status: int, lines: list[bytes]) -> bytes:
    """Return the bytes of a head. Raises RuntimeError when a value holds what could end its line, or the head."""
    rest = b"\r\n".join([*lines, b"\r\n"])
    if len(rest.translate(None, PLAIN)) != 2 * len(lines) + 2:
        raise RuntimeError(INVALID_VALUE)
    return STATUS_LINE[status] + rest


def _begin(name: bytes, value: bytes, framing: Framing) -> bytes:
    """Return how the line of *name* begins."""
    if name in FRAMING:
        _frame(name, value, framing)
        return name + b": "
    if name.lower() == DATE:
        framing.dated = True
        return DATE + b": "
    if HEADER_RE.search(name):
        raise RuntimeError("Invalid HTTP header name.")
    lower = name.lower()
    if lower in FRAMING:
        _frame(lower, value, framing)
    elif len(_remembered) < REMEMBERED and len(name) <= LONGEST_REMEMBERED:
        _remembered[name] = lower + b": "
    return lower + b": "


def _frame(name: bytes, value: bytes, framing: Framing) -> None:
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
