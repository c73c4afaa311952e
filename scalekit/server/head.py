"""The head of an answer, as bytes on the wire.

Names recur from answer to answer, so those that were found valid are remembered. Values do not: all of them are looked
at in one go, by what is left of the whole head when every byte that a value may hold is taken out.
"""

from __future__ import annotations

from collections.abc import Iterable

from uvicorn.protocols.http.httptools_impl import HEADER_RE, HEADER_VALUE_RE, STATUS_LINE

Header = tuple[bytes, bytes]

REMEMBERED = 1000
"""How many names are remembered."""
LONGEST_REMEMBERED = 100
PLAIN = bytes(byte for byte in range(256) if not HEADER_VALUE_RE.match(bytes([byte])))
"""Every byte that a value may hold."""
FRAMING = frozenset({b"content-length", b"transfer-encoding", b"connection"})
"""Names that say where an answer ends. They are not remembered, since their values must be looked at."""
DATE = b"date"

_remembered: dict[bytes, bytes] = {}


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


def encode(status: int, lines: list[bytes]) -> bytes:
    """Return the bytes of a head. Raises RuntimeError when a value holds what could end its line, or the head."""
    rest = b"\r\n".join([*lines, b"\r\n"])
    if len(rest.translate(None, PLAIN)) != 2 * len(lines) + 2:
        raise RuntimeError("Invalid HTTP header value.")
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
