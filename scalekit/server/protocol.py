"""uvicorn's HTTP/1.1 connection with the deadlines and bounds that it lacks.

uvicorn alone keeps a connection for as long as its client likes: a head that never ends, a trickle of blank lines, an
answer that nobody reads. Here a connection that is not inside a request has a deadline, which data does not prolong;
a head has a size; and what was written must be taken within a time. Bodies are bounded in ``scalekit.body``.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from contextvars import Context
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import httptools
import orjson
from httptools import HttpParserError, HttpParserUpgrade
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from scalekit.config.types import Size
from scalekit.problem import MEDIA_TYPE, phrase
from scalekit.server.cycle import Cycle
from scalekit.server.deadlines import Timer


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds for a request head and for what was written to be taken, and the size of a head."""

    header_timeout: float
    write_timeout: float
    max_header: Size


RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class HeadTooLarge(Exception):
    """Stops the parser; the client gets 431."""


def split(url: bytes) -> tuple[bytes, bytes]:
    """Return the path and the query of *url*."""
    if url.startswith(b"/") and b"#" not in url:
        path, _, query = url.partition(b"?")
        return path, query
    parts = httptools.parse_url(url)
    return parts.path, parts.query or b""


class HttpProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(
        self,
        limits: Limits,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.limits = limits
        self.cycle: Cycle | None = None  # type: ignore[assignment]
        self.pipeline: deque[Cycle] = deque()  # type: ignore[assignment]
        self._running: Cycle | None = None
        self._upgrades = False
        self._in_head = False
        self._in_body = False
        self._head_size = 0
        self._segment = 0
        self._too_large = False
        self._takes_requests = True
        self._timer = Timer(self.loop)
        self._head_deadline = self._timer.deadline(limits.header_timeout, self._on_slow_head)
        self._write_deadline = self._timer.deadline(limits.write_timeout, self._on_slow_reader)
        self._idle_deadline = self._timer.deadline(self.timeout_keep_alive, self._on_idle)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock for the first request."""
        super().connection_made(transport)
        self._head_deadline.start()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop every clock, and tell who serves a request here."""
        self._timer.end()
        self.connections.discard(self)
        for cycle in (self._running, self.cycle):
            if cycle is not None:
                cycle.disconnect()
        self.flow.resume_writing()
        self.parser = None  # type: ignore[assignment]
        if exc is None:
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Parse *data*; afterwards either a request is being served or the clock for the next one runs."""
        if not self._takes_requests:
            return
        self._segment = len(data)
        self._head_size += self._segment
        self._idle_deadline.stop()
        try:
            self.parser.feed_data(data)
        except HttpParserError:
            self.logger.warning("Invalid HTTP request received.")
            self._refuse_what_is_invalid()
        except HttpParserUpgrade:
            if self._upgrades:
                self.handle_websocket_upgrade()
            else:
                self._unsupported_upgrade_warning()
        if self._takes_requests:
            self._watch_head()

    def _watch_head(self) -> None:
        if self._is_serving():
            if not self._in_head:
                self._head_deadline.stop()
        elif not self._head_deadline.runs() and not self.transport.is_closing():
            self._head_deadline.start()
        if self._in_head and self._head_size > self.limits.max_header and not self.transport.is_closing():
            self._refuse(431, f"the request head is larger than {self.limits.max_header}")

    def on_message_begin(self) -> None:
        """Begin to count a head."""
        self._in_head = True
        self.url = b""
        self.headers = []
        self.expect_100_continue = False

    def on_headers_complete(self) -> None:
        """Serve the request unless its head is too large; one behind another waits for it."""
        self._in_head = False
        # Where a head follows another message in one segment, its part there is not in _head_size.
        suspect = max(self._head_size, self._segment) > self.limits.max_header
        if suspect and self._exact_head_size() > self.limits.max_header:
            self._too_large = True
            raise HeadTooLarge
        serving = self._is_serving()
        if not serving and not self.flow.write_paused:
            self._write_deadline.stop()  # it ran for the answer before, and the next one gets its own
        self._in_body = True
        parser = self.parser
        version = parser.get_http_version()
        self._upgrades = parser.should_upgrade() and self._should_upgrade()
        if self._upgrades:
            self.scope = {"method": parser.get_method().decode("ascii"), "headers": self.headers}  # type: ignore[typeddict-item]
            return
        raw_path, query = split(self.url)
        path = raw_path.decode("ascii")
        scope = {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": version,
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "root_path": self.root_path,
            "headers": self.headers,
            "state": self.app_state.copy(),
            "method": parser.get_method().decode("ascii"),
            "path": self.root_path + (unquote(path) if "%" in path else path),
            "raw_path": self.root_path.encode("ascii") + raw_path,
            "query_string": query,
        }
        keep_alive = version != "1.0" and parser.should_keep_alive()
        self.cycle = cycle = Cycle(self, scope, self.server_state.default_headers, keep_alive, self.expect_100_continue)
        if serving:
            self.flow.pause_reading()
            self.pipeline.append(cycle)
        else:
            self._serve(cycle)

    def _serve(self, cycle: Cycle) -> None:
        # asyncio's contexts would leak from one request into another otherwise.
        cycle.task = self.loop.create_task(cycle.run(self.app), context=Context())
        self._running = cycle
        self.tasks.add(cycle.task)

    def on_body(self, body: bytes) -> None:
        """Hand a part of a body to the application that reads it."""
        if not self._upgrades and not self.cycle.response_complete and self.cycle.feed(body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()

    def on_message_complete(self) -> None:
        """Begin to count anew: what has come until here, a body too, is not part of the next head."""
        self._in_body = False
        self._head_size = 0
        if not self._upgrades and not self.cycle.response_complete:
            self.cycle.complete()

    def on_response_complete(self) -> None:
        """Give the client the write timeout to take what is left of the answer."""
        self.server_state.total_requests += 1
        if not self.transport.is_closing():
            self.flow.resume_reading()
            if self.pipeline:
                self._serve(self.pipeline.popleft())
            else:
                self._idle_deadline.start()
        self._watch_rest()

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection over; its deadlines are the websocket protocol's from here on."""
        self._takes_requests = self._in_head = False
        self._timer.end()
        super().handle_websocket_upgrade()

    def pause_writing(self) -> None:
        """Start the clock for a client that does not read."""
        super().pause_writing()
        self._write_deadline.start()

    def resume_writing(self) -> None:
        """Stop it: the client reads; of an answer that is complete it must still take the rest."""
        self._write_deadline.stop()
        super().resume_writing()
        self._watch_rest()

    def _refuse_what_is_invalid(self) -> None:
        """Answer what the parser refused."""
        if self._too_large:
            self._refuse(431, f"the request head is larger than {self.limits.max_header}")
        else:
            self._refuse(400, "the request is not valid HTTP/1.1")

    def _refuse(self, status: int, detail: str) -> None:
        """Refuse what the client sent; a request that came whole before it is answered, and then the connection ends.

        Nothing is written into an answer that has begun.
        """
        if self._is_serving() and not self._in_body:
            self._takes_requests = self.cycle.keep_alive = False
            self._head_deadline.stop()
            return
        if not self._in_body or not (self.cycle.response_started or self.pipeline):
            self.transport.write(self._refusal(status, detail))
        self.transport.close()
        self._watch_rest()

    def _refusal(self, status: int, detail: str) -> bytes:
        body = orjson.dumps({"type": "about:blank", "title": phrase(status), "status": status, "detail": detail})
        fields = [
            *self.server_state.default_headers,
            (b"content-type", MEDIA_TYPE.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        head = b"".join(name + b": " + value + b"\r\n" for name, value in fields)
        return STATUS_LINE[status] + head + b"\r\n" + body

    def _is_serving(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _exact_head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _on_slow_head(self) -> None:
        if self.transport.is_closing():
            return
        if self._in_head:
            self._refuse(408, f"the request head did not arrive within {self.limits.header_timeout:g}s")
        else:
            self.transport.close()

    def _watch_rest(self) -> None:
        """Start the clock for what is left of an answer that is complete."""
        if not self._write_deadline.runs() and not self._is_serving() and self.transport.get_write_buffer_size():
            self._write_deadline.start()

    def _on_idle(self) -> None:
        """End an idle connection, also when its client has not read the last answer."""
        if self.transport.get_write_buffer_size():
            self._reset()
        else:
            self.transport.close()

    def _on_slow_reader(self) -> None:
        if self.transport.get_write_buffer_size():
            self._reset()

    def _reset(self) -> None:
        """Give up what the client does not take, in the kernel's buffer too, which would keep it for minutes."""
        connection = self.transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self.transport.abort()
