"""The head of an answer, as bytes on the wire.

Names recur from answer to answer, so those that were found valid are remembered. Values do not: all of them are looked
at in one go, by what is left of the whole head when every byte that a value may hold is taken out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NoReturn

from uvicorn.protocols.http.httptools_impl import HEADER_RE, HEADER_VALUE_RE
from uvicorn.protocols.http.httptools_impl import STATUS_LINE as STATUS_LINE

Header = tuple[bytes, bytes]

REMEMBERED = 1000
"""How many names are remembered."""
LONGEST_REMEMBERED = 100
PLAIN = bytes(byte for byte in range(256) if not HEADER_VALUE_RE.match(bytes([byte])))
"""Every byte that a value may hold."""
FRAMING = frozenset({b"content-length", b"transfer-encoding", b"connection"})
"""Names that say where an answer ends; they are not remembered, for their values must be looked at."""

_remembered: dict[bytes, bytes] = {}


class Head:
    """The head of one answer, and how its end is told."""

    __slots__ = ("chunked", "closes", "length", "lines")

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.chunked: bool | None = None
        self.length = 0
        self.closes = False

    def add(self, headers: Iterable[Header]) -> None:
        """Append *headers*. Raises RuntimeError for a name that is not valid."""
        for name, value in headers:
            begin = _remembered.get(name)
            if begin is None:
                begin = self._begin(name, value)
            self.lines.append(begin + value)

    def _begin(self, name: bytes, value: bytes) -> bytes:
        """Return how the line of *name* begins, and see to what *value* says of the framing."""
        if HEADER_RE.search(name):
            raise RuntimeError("Invalid HTTP header name.")
        lower = name.lower()
        if lower in FRAMING:
            self._frame(lower, value)
        elif len(_remembered) < REMEMBERED and len(name) <= LONGEST_REMEMBERED:
            _remembered[name] = lower + b": "
        return lower + b": "

    def _frame(self, name: bytes, value: bytes) -> None:
        if name == b"content-length":
            if self.chunked is None:
                self.length = int(value.decode())
                self.chunked = False
        elif name == b"transfer-encoding":
            if value.lower() == b"chunked":
                self.length = 0
                self.chunked = True
        elif b"close" in [token.lower().strip() for token in value.split(b",")]:
            self.closes = True

    def encode(self, status: int) -> bytes:
        """Return the bytes. Raises RuntimeError when a value could end its line, or hold what a header may not."""
        self.lines.append(b"\r\n")
        rest = b"\r\n".join(self.lines)
        if len(rest.translate(None, PLAIN)) != 2 * len(self.lines):
            raise RuntimeError("Invalid HTTP header value.")
        return STATUS_LINE[status] + rest
