"""What a connection reads: heads and bodies, neither of which a client may stretch beyond its bound.

The parser keeps what it has of a field until the field ends, so everything is measured while it comes: a head with
``max_header``, and the overhead of a chunked body, trailers included, with the same. Content is bounded in
``scalekit.body``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from httptools import HttpParserError, HttpParserUpgrade
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from scalekit.config.types import Size
from scalekit.server.overhead import Overhead
from scalekit.server.refusal import Refused

SMALLEST_PIECE = 1024
NOTED = frozenset({b"host", b"expect", b"transfer-encoding"})
"""Names of header fields that the connection itself heeds."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds for a request head and for what was written to be taken, and the size of a head."""

    header_timeout: float
    write_timeout: float
    max_header: Size


class RequestReader(HttpToolsProtocol):
    """The half of a connection that reads."""

    parser: Any

    # Of one message, so that its begin sets only what may differ.
    _in_head = False
    _in_body = False
    _upgrades = False
    _chunked = False
    _hosts = 0
    _head_size = 0
    _segment = 0
    _uncounted = 0
    _overhead: Overhead | None = None

    def __init__(
        self, limits: Limits, config: Config, server_state: ServerState, app_state: dict[str, Any], _loop: Any = None
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.limits = limits
        self._largest = int(limits.max_header)
        self._piece = max(SMALLEST_PIECE, self._largest // 8)
        self._takes_requests = True

    def parse(self, data: bytes) -> None:
        """Parse *data*; what is long is parsed in pieces, so that it is measured before all of it is kept."""
        if len(data) <= self._piece:
            self._parse(data)
        else:
            self._parse_in_pieces(memoryview(data))

    def _parse_in_pieces(self, data: memoryview) -> None:
        while data and self._takes_requests and not self.transport.is_closing():
            sized = self._in_body and self._overhead is None
            end = len(data) if sized else self._piece
            self._parse(data[:end])
            data = data[end:]

    def _parse(self, data: bytes | memoryview) -> None:
        self._segment = len(data)
        self._head_size += self._segment
        try:
            self.parser.feed_data(data)
        except HttpParserError as error:
            self.logger.warning("Invalid HTTP request received.")
            why = error.__context__
            self.refuse(why if isinstance(why, Refused) else Refused(400, "the request is not valid HTTP/1.1"))
        except HttpParserUpgrade:
            if self._upgrades:
                self.handle_websocket_upgrade()
            else:
                self._unsupported_upgrade_warning()
        if self._overhead is not None or self._head_size > self._largest:
            self._measure()

    def refuse(self, why: Refused) -> None:
        """Refuse what the client sent, and read no more."""
        raise NotImplementedError

    def on_message_begin(self) -> None:
        """Begin to count a head."""
        self._in_head = True
        self.url = b""
        self.headers = []
        self.expect_100_continue = self._chunked = False
        self._hosts = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header field, or a trailer field, which :meth:`begin_chunks` lets go elsewhere."""
        name = name.lower()
        if name in NOTED:
            self._note(name, value)
        self.headers.append((name, value.rstrip()))  # blanks around a value are not its own: RFC 9110, section 5.5

    def _note(self, name: bytes, value: bytes) -> None:
        if name == b"host":
            self._hosts += 1
        elif name == b"expect":
            self.expect_100_continue = value.lower() == b"100-continue"
        else:
            self._chunked = True

    def begin_chunks(self) -> None:
        """Let nothing that comes behind the head of a chunked message into its headers.

        Trailers may not be merged with them (RFC 9110, section 6.5.1): proxies do not look at trailers, and what
        headers decide, such as who the client is, has been decided by then.
        """
        overhead: Any = Overhead(self.limits.max_header)
        self.headers = self._overhead = overhead

    def check_head(self, version: str) -> None:
        """Raise Refused for a head of HTTP *version* that is too large, or names not exactly one host."""
        self._in_head = False
        # Of the segment in which the message before ended, an unknown part is this head's.
        if self._head_size + self._uncounted > self._largest and self._exact_head_size() > self._largest:
            raise self._too_large()
        if version != "1.0" and self._hosts != 1:  # RFC 9112, section 3.2: two may name different ones on the way
            raise Refused(400, "exactly one Host header is needed")

    def _measure(self) -> None:
        """Refuse what is too large already; blank lines before a head count to it."""
        if not self._takes_requests or self.transport.is_closing():
            return
        if not self._in_body:
            self.refuse(self._too_large())
        elif self._overhead is not None:
            self._overhead.take_bytes(self._segment)
            if self._overhead.is_too_large:
                self.refuse(self._overhead.refusal())

    def _exact_head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _too_large(self) -> Refused:
        return Refused(431, f"the request head is larger than {self.limits.max_header}")
