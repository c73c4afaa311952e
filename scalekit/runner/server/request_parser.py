"""Parse request heads and bodies of a connection, and enforce their size limits.

The parser buffers a field until it ends, so sizes are checked while data arrives: `max_header` limits the head, and the
overhead of a chunked body, trailers included. ``scalekit.http.body_limit`` limits the content.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from scalekit.config.types import Size
from scalekit.runner.server.chunked_overhead import ChunkedOverhead
from scalekit.runner.server.error_response import RequestRejected
from scalekit.runner.server.request_target import SLASH, check_host, parse_target
from scalekit.runner.server.unix_listener import unix_server

MIN_PIECE = 1024
CONNECTION_FIELDS = frozenset({b"host", b"expect", b"transfer-encoding"})
"""Header fields that the connection itself interprets."""
ONE_HOST = "exactly one Host header is required"


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Seconds for a client to send a request head and to read a response, and the maximum size of a head."""

    header_timeout: float
    write_timeout: float
    max_header: Size


class RequestParser(HttpToolsProtocol):
    """The reading half of a connection."""

    parser: Any

    # State of one message; class attributes, so that a new message resets only attributes that can differ.
    _in_head = False
    _in_body = False
    _upgrades = False
    _is_websocket = False
    _chunked = False
    _hosts = 0
    _host: bytes | None = None
    _valid_host: bytes | None = None
    """The valid host of the previous request, which is usually the same."""
    _head_size = 0
    _segment = 0
    _uncounted = 0
    _overhead: ChunkedOverhead | None = None

    def __init__(
        self,
        limits: ConnectionLimits,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: Any = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.limits = limits
        self._max_header = int(limits.max_header)
        self._max_piece = max(MIN_PIECE, self._max_header // 8)
        self._accepts_requests = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn narrows it
        """Open the connection."""
        super().connection_made(transport)
        if self.client is None:
            self.server = unix_server(transport) or self.server

    def parse(self, data: bytes) -> None:
        """Parse *data*; large data in pieces, so that its size is checked before all of it is buffered."""
        if len(data) <= self._max_piece:
            self._parse(data)
        else:
            self._parse_in_pieces(memoryview(data))

    def _parse_in_pieces(self, data: memoryview) -> None:
        while data and self._accepts_requests and not self.transport.is_closing():
            sized = self._in_body and self._overhead is None
            end = len(data) if sized else self._max_piece
            self._parse(data[:end])
            data = data[end:]

    def _parse(self, data: bytes | memoryview) -> None:
        self._segment = len(data)
        self._head_size += self._segment
        try:
            self.parser.feed_data(data)
        except HttpParserError as error:
            self._reject_invalid(error)
        except HttpParserUpgrade as upgrade:
            self._handle_upgrade(data[upgrade.args[0] :])
        if self._overhead is not None or self._head_size > self._max_header:
            self._check_size()

    def _reject_invalid(self, error: HttpParserError) -> None:
        self.logger.warning("Invalid HTTP request received.")
        cause = error.__context__
        self.reject(
            cause if isinstance(cause, RequestRejected) else RequestRejected(400, "the request is not valid HTTP/1.1")
        )

    def _handle_upgrade(self, rest: bytes | memoryview) -> None:
        """Switch to the websocket protocol, or ignore an unsupported Upgrade field (RFC 9110, section 7.8).

        The parser takes the following bytes, even a body, for the other protocol, so it parses the message again.
        """
        while not self._is_websocket:
            if not any(
                name == b"upgrade" for name, _ in self.headers
            ):  # CONNECT, which the parser reports as an upgrade
                self.reject(RequestRejected(501, "this server does not support CONNECT"))
                return
            message = self._head_without_upgrade() + bytes(rest)
            self.parser = HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            try:
                self.parser.feed_data(message)
            except HttpParserError as error:
                self._reject_invalid(error)
            except HttpParserUpgrade as upgrade:
                rest = message[upgrade.args[0] :]
                continue
            return
        self.handle_websocket_upgrade()

    def _head_without_upgrade(self) -> bytes:
        fields = b"".join(b"%b: %b\r\n" % field for field in self.headers if field[0] != b"upgrade")
        return b"%b %b HTTP/%b\r\n%b\r\n" % (
            self.parser.get_method(),
            self.url,
            self.parser.get_http_version().encode(),
            fields,
        )

    def reject(self, error: RequestRejected) -> None:
        """Reject the request with an error response, and read no more."""
        raise NotImplementedError

    def on_message_begin(self) -> None:
        """Reset the state for a new request head."""
        self._in_head = True
        self.url = b""
        self.headers = []
        self.expect_100_continue = self._chunked = False
        self._hosts = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header field, or count a trailer field after :meth:`begin_chunked_body`."""
        name = name.lower()
        if name in CONNECTION_FIELDS:
            self._handle_field(name, value)
        self.headers.append(
            (name, value.rstrip())
        )  # whitespace around a value is not part of it: RFC 9110, section 5.5

    def _handle_field(self, name: bytes, value: bytes) -> None:
        if name == b"host":
            self._hosts += 1
            self._host = value.rstrip()
        elif name == b"expect":
            self.expect_100_continue = value.rstrip().lower() == b"100-continue"
        elif value.rstrip().lower() == b"chunked":
            self._chunked = True
        else:
            raise RequestRejected(501, "the only supported transfer coding is chunked")

    def begin_chunked_body(self) -> None:
        """Keep trailer fields out of the headers of a chunked message.

        Trailers must not be merged into headers (RFC 9110, section 6.5.1): proxies do not inspect trailers, and
        decisions by headers, such as authentication, have been made by then.
        """
        overhead: Any = ChunkedOverhead(self.limits.max_header)
        self.headers = self._overhead = overhead

    def begin_upgrade(self, version: str, serving: bool) -> None:
        """Record which protocol the request upgrades to.

        Raises RequestRejected for a websocket handshake while another request is served.
        """
        self._is_websocket = version == "1.1" and self._should_upgrade()
        if self._is_websocket and serving:
            raise RequestRejected(400, "a websocket handshake must not be pipelined behind another request")
        method = self.parser.get_method().decode("ascii")
        self.scope = {"method": method, "headers": self.headers}  # type: ignore[typeddict-item]  # all that uvicorn reads

    def check_head(self, version: str) -> None:
        """Raise RequestRejected when a head of HTTP *version* is too large or does not name exactly one valid host."""
        self._in_head = False
        # An unknown part of the segment in which the previous message ended belongs to this head.
        if self._head_size + self._uncounted > self._max_header and self._exact_head_size() > self._max_header:
            raise self._header_too_large()
        if version != "1.1":
            self._check_version(version)
        elif self._hosts != 1:  # RFC 9112, section 3.2: proxies may use different ones of two hosts
            raise RequestRejected(400, ONE_HOST)
        if self._host != self._valid_host:
            check_host(self._host or b"")
            self._valid_host = self._host
        if self.url[0] != SLASH or b"#" in self.url:
            self._apply_target()

    def _check_version(self, version: str) -> None:
        """Raise RequestRejected unless this is an HTTP/1.0 request without transfer codings (RFC 9112, section 6.1)."""
        if version != "1.0":
            raise RequestRejected(505, f"this server supports HTTP/1.1, not HTTP/{version}")
        if self._chunked:
            raise RequestRejected(400, "HTTP/1.0 does not support transfer codings")
        if self._hosts > 1:
            raise RequestRejected(400, ONE_HOST)
        if not self._hosts:
            self._host = self._valid_host
        self.expect_100_continue = False

    def _apply_target(self) -> None:
        """Replace the Host field by the host of an absolute target (RFC 9112, section 3.2.2)."""
        self.url, host = parse_target(self.url, self.parser.get_method())
        if host is not None:
            others = [field for field in self.headers if field[0] != b"host"]
            self.headers = [(b"host", host), *others]

    def _check_size(self) -> None:
        """Reject a head or overhead over its limit; blank lines before a head count towards it."""
        if not self._accepts_requests or self.transport.is_closing():
            return
        if not self._in_body:
            self.reject(self._header_too_large())
        elif self._overhead is not None:
            self._overhead.count_bytes(self._segment)
            if self._overhead.is_too_large:
                self.reject(self._overhead.rejection())

    def _exact_head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _header_too_large(self) -> RequestRejected:
        return RequestRejected(431, f"the request head is larger than {self.limits.max_header}")
