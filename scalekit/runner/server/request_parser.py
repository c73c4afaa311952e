"""What a connection reads: heads and bodies, neither of which a client may stretch beyond its bound.

The parser keeps what it has of a field until the field ends, so everything is measured while it comes: a head with
``max_header``, and the overhead of a chunked body, trailers included, with the same. Content is bounded in
``scalekit.http.body_limit``.
"""

from __future__ import annotations

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

SMALLEST_PIECE = 1024
NOTED = frozenset({b"host", b"expect", b"transfer-encoding"})
"""Names of header fields that the connection itself heeds."""
ONE_HOST = "exactly one Host header is needed"


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Seconds for a request head and for what was written to be taken, and the size of a head."""

    header_timeout: float
    write_timeout: float
    max_header: Size


class RequestParser(HttpToolsProtocol):
    """The half of a connection that reads."""

    parser: Any

    # Of one message, so that its begin sets only what may differ.
    _in_head = False
    _in_body = False
    _upgrades = False
    _is_websocket = False
    _chunked = False
    _hosts = 0
    _host: bytes | None = None
    _valid_host: bytes | None = None
    """The host of the request before this one, which most likely is the same."""
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
            self._refuse_invalid(error)
        except HttpParserUpgrade as upgrade:
            self._take_upgrade(data[upgrade.args[0] :])
        if self._overhead is not None or self._head_size > self._largest:
            self._measure()

    def _refuse_invalid(self, error: HttpParserError) -> None:
        self.logger.warning("Invalid HTTP request received.")
        why = error.__context__
        self.refuse(
            why if isinstance(why, RequestRejected) else RequestRejected(400, "the request is not valid HTTP/1.1")
        )

    def _take_upgrade(self, rest: bytes | memoryview) -> None:
        """Hand the connection over, or read on as if no other protocol had been asked for (RFC 9110, section 7.8).

        The parser takes what follows for that protocol, also when it is the body, so the message begins anew.
        """
        while not self._is_websocket:
            if not any(name == b"upgrade" for name, _ in self.headers):  # CONNECT, which is one for the parser
                self.refuse(RequestRejected(501, "this server opens no tunnels"))
                return
            message = self._head_without_upgrade() + bytes(rest)
            self.parser = HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            try:
                self.parser.feed_data(message)
            except HttpParserError as error:
                self._refuse_invalid(error)
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

    def refuse(self, why: RequestRejected) -> None:
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
            self._host = value.rstrip()
        elif name == b"expect":
            self.expect_100_continue = value.rstrip().lower() == b"100-continue"
        elif value.rstrip().lower() == b"chunked":
            self._chunked = True
        else:
            raise RequestRejected(501, "of transfer codings only chunked is understood")

    def begin_chunks(self) -> None:
        """Let nothing that comes behind the head of a chunked message into its headers.

        Trailers may not be merged with them (RFC 9110, section 6.5.1): proxies do not look at trailers, and what
        headers decide, such as who the client is, has been decided by then.
        """
        overhead: Any = ChunkedOverhead(self.limits.max_header)
        self.headers = self._overhead = overhead

    def begin_upgrade(self, version: str, serving: bool) -> None:
        """Record which protocol the request upgrades to.

        Raises RequestRejected for a websocket handshake while another request is served.
        """
        self._is_websocket = version == "1.1" and self._should_upgrade()
        if self._is_websocket and serving:
            raise RequestRejected(400, "a websocket handshake may not stand behind a request that is not answered yet")
        method = self.parser.get_method().decode("ascii")
        self.scope = {"method": method, "headers": self.headers}  # type: ignore[typeddict-item]

    def check_head(self, version: str) -> None:
        """Raise RequestRejected when a head of HTTP *version* is too large or does not name exactly one valid host."""
        self._in_head = False
        # Of the segment in which the message before ended, an unknown part is this head's.
        if self._head_size + self._uncounted > self._largest and self._exact_head_size() > self._largest:
            raise self._too_large()
        if version != "1.1":
            self._check_old(version)
        elif self._hosts != 1:  # RFC 9112, section 3.2: two may name different ones to those on the way
            raise RequestRejected(400, ONE_HOST)
        if self._host != self._valid_host:
            check_host(self._host or b"")
            self._valid_host = self._host
        if self.url[0] != SLASH or b"#" in self.url:
            self._take_target()

    def _check_old(self, version: str) -> None:
        """Raise RequestRejected unless this is an HTTP/1.0 request without transfer codings (RFC 9112, section 6.1)."""
        if version != "1.0":
            raise RequestRejected(505, f"this server speaks HTTP/1.1, not HTTP/{version}")
        if self._chunked:
            raise RequestRejected(400, "HTTP/1.0 has no transfer codings")
        if self._hosts > 1:
            raise RequestRejected(400, ONE_HOST)
        if not self._hosts:
            self._host = self._valid_host
        self.expect_100_continue = False

    def _take_target(self) -> None:
        """Let the host of an absolute target take the place of the Host field (RFC 9112, section 3.2.2)."""
        self.url, host = parse_target(self.url, self.parser.get_method())
        if host is not None:
            others = [field for field in self.headers if field[0] != b"host"]
            self.headers = [(b"host", host), *others]

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

    def _too_large(self) -> RequestRejected:
        return RequestRejected(431, f"the request head is larger than {self.limits.max_header}")
