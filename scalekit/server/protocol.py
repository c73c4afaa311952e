"""uvicorn's HTTP/1.1 connection with the deadlines and bounds that it lacks.

uvicorn alone keeps a connection for as long as its client likes: a head that never ends, a trickle of blank lines, an
answer that nobody reads. Here a connection that is not inside a request has a deadline, which data does not prolong;
a head has a size; and what was written must be taken within a time. Bodies are bounded in ``scalekit.body``.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from dataclasses import dataclass
from typing import Any

import orjson
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from scalekit.config.types import Size
from scalekit.problem import MEDIA_TYPE, phrase


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds for a request head and for what was written to be taken, and the size of a head."""

    header_timeout: float
    write_timeout: float
    max_header: Size


RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class HeadTooLarge(Exception):
    """Stops the parser; the client gets 431."""


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
        self._in_head = False
        self._in_body = False
        self._head_size = 0
        self._segment = 0
        self._too_large = False
        self._takes_requests = True
        self._head_deadline: asyncio.TimerHandle | None = None
        self._write_deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock for the first request."""
        super().connection_made(transport)
        self._start_head_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop every clock."""
        self._stop_head_clock()
        self._stop_write_clock()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse *data*; afterwards either a request is being served or the clock for the next one runs."""
        if not self._takes_requests:
            return
        self._segment = len(data)
        self._head_size += len(data)
        super().data_received(data)
        if not self._takes_requests:
            return
        if self._is_serving():
            if self._head_deadline is not None and not self._in_head:
                self._stop_head_clock()
        elif self._head_deadline is None and not self.transport.is_closing():
            self._start_head_clock()
        if self._in_head and self._head_size > self.limits.max_header and not self.transport.is_closing():
            self._refuse(431, f"the request head is larger than {self.limits.max_header}")

    def on_message_begin(self) -> None:
        """Begin to count a head."""
        super().on_message_begin()
        self._in_head = True

    def on_headers_complete(self) -> None:
        """Serve the request unless its head is too large."""
        self._in_head = False
        # Where a head follows another message in one segment, its part there is not in _head_size.
        suspect = max(self._head_size, self._segment) > self.limits.max_header
        if suspect and self._exact_head_size() > self.limits.max_header:
            self._too_large = True
            raise HeadTooLarge
        if not self._is_serving() and not self.flow.write_paused:
            self._stop_write_clock()  # it ran for the answer before, and the next one gets its own
        self._in_body = True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Begin to count anew: what has come until here, a body too, is not part of the next head."""
        self._in_body = False
        self._head_size = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Give the client the write timeout to take what is left of the answer."""
        super().on_response_complete()
        self._watch_rest()

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection over; its deadlines are the websocket protocol's from here on."""
        self._takes_requests = self._in_head = False
        self._stop_head_clock()
        super().handle_websocket_upgrade()

    def timeout_keep_alive_handler(self) -> None:
        """End an idle connection, also when its client has not read the last answer."""
        if self.transport.get_write_buffer_size():
            self._reset()
        else:
            super().timeout_keep_alive_handler()

    def pause_writing(self) -> None:
        """Start the clock for a client that does not read."""
        super().pause_writing()
        self._start_write_clock()

    def resume_writing(self) -> None:
        """Stop it: the client reads; of an answer that is complete it must still take the rest."""
        self._stop_write_clock()
        super().resume_writing()
        self._watch_rest()

    def send_400_response(self, msg: str) -> None:
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
            self._stop_head_clock()
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
        self._head_deadline = None
        if self.transport.is_closing():
            return
        if self._in_head:
            self._refuse(408, f"the request head did not arrive within {self.limits.header_timeout:g}s")
        else:
            self.transport.close()

    def _watch_rest(self) -> None:
        """Start the clock for what is left of an answer that is complete."""
        if self._write_deadline is None and not self._is_serving() and self.transport.get_write_buffer_size():
            self._start_write_clock()

    def _on_slow_reader(self) -> None:
        self._write_deadline = None
        if self.transport.get_write_buffer_size():
            self._reset()

    def _reset(self) -> None:
        """Give up what the client does not take, in the kernel's buffer too, which would keep it for minutes."""
        connection = self.transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self.transport.abort()

    def _start_head_clock(self) -> None:
        self._head_deadline = self.loop.call_later(self.limits.header_timeout, self._on_slow_head)

    def _stop_head_clock(self) -> None:
        if self._head_deadline is not None:
            self._head_deadline.cancel()
            self._head_deadline = None

    def _start_write_clock(self) -> None:
        self._stop_write_clock()
        self._write_deadline = self.loop.call_later(self.limits.write_timeout, self._on_slow_reader)

    def _stop_write_clock(self) -> None:
        if self._write_deadline is not None:
            self._write_deadline.cancel()
            self._write_deadline = None
