"""Serve HTTP/1.1 on one connection: uvicorn's protocol with timeouts, size limits and a shorter path to the filters.

uvicorn alone keeps a connection as long as the client wants: for a head that never ends, a trickle of blank lines, a
response that the client does not read. Here a head must arrive within `header_timeout`, which data does not extend, and
has a maximum size; a response must be read within `write_timeout`. ``scalekit.http.body_limit`` limits bodies.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable
from contextvars import Context
from functools import partial
from typing import Any

from starlette.types import Scope
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.server import ServerState

from scalekit.http.exchange import Exchange
from scalekit.http.response import LocalResponse
from scalekit.runner.server.connection_close import reset, unsent_size
from scalekit.runner.server.connection_timer import ConnectionTimer
from scalekit.runner.server.error_response import RequestRejected, error_response
from scalekit.runner.server.exchange_handler import ExchangeHandler
from scalekit.runner.server.request_cycle import RequestCycle
from scalekit.runner.server.request_head_cache import MAX_BYTES, RequestHeadCache
from scalekit.runner.server.request_parser import ConnectionLimits, RequestParser
from scalekit.runner.server.scope import cached_scope, http_scope

HALF_CLOSED_INTERVAL = 2.0
"""Seconds without a write after which a client that has half-closed the connection is presumed disconnected."""


class HttpProtocol(RequestParser):
    """One connection: filters of *service* that decide at once respond without a task; the application gets one."""

    cycle: Any  # a RequestCycle; uvicorn declares its own class
    pipeline: deque[Any]
    _in_pipeline_loop = False
    _last_segment = b""
    _repeated = False

    def __init__(
        self,
        limits: ConnectionLimits,
        service: ExchangeHandler,
        head_cache: RequestHeadCache,
        *,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(limits, config, server_state, app_state, _loop)
        self._service = service
        self._head_cache = head_cache
        self._current: Any = None  # the RequestCycle being served
        self._timer = ConnectionTimer(self.loop)
        self._header_timeout = self._timer.timeout(limits.header_timeout, self._on_header_timeout)
        self._write_timeout = self._timer.timeout(limits.write_timeout, self._on_write_timeout)
        self._idle_timeout = self._timer.timeout(self.timeout_keep_alive, self._on_idle_timeout)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn narrows it
        """Start the header timeout of the first request."""
        super().connection_made(transport)
        self._unsent_size = unsent_size(transport)
        self._header_timeout.start()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop every timeout and notify the requests that are served or queued of the disconnect."""
        self._timer.end()
        self.connections.discard(self)
        for cycle in (self._current, self.cycle):
            if cycle is not None:
                cycle.disconnect()
        self.flow.resume_writing()
        self.parser = None
        if exc is None:
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Parse *data*; afterwards either a request is being served or the timeout of the next one runs."""
        if not self._accepts_requests:
            return
        self._idle_timeout.stop()
        scope = self._head_cache.get(data)
        if scope is None or self._head_size or self._is_serving():  # within a message, or pipelined
            self._repeated = data == self._last_segment
            self._last_segment = data if len(data) <= MAX_BYTES else b""
            self.parse(data)
        else:
            self._serve_cached_head(scope)
        if self._accepts_requests:
            self._update_header_timeout()

    def _serve_cached_head(self, cached: Scope) -> None:
        """Serve a request without a body whose head is cached, as :meth:`on_headers_complete` does."""
        if not self.flow.write_paused:
            self._write_timeout.stop()
        self.cycle = cycle = RequestCycle(self, cached_scope(self, cached), True, False)
        cycle.complete()
        self._serve(cycle)

    def eof_received(self) -> bool:  # type: ignore[override]  # uvicorn returns None
        """Keep writing to a client that half-closed the connection after complete requests (RFC 9112, section 9.6).

        A client that has closed both sides looks the same until a write fails, so an application that awaits
        ``http.disconnect`` receives it when no byte was written for HALF_CLOSED_INTERVAL. Event loops close TLS.
        """
        if not self._is_serving() or self._in_body or self.scheme == "https":
            return False
        self._accepts_requests = self.cycle.keep_alive = False
        self._header_timeout.stop()
        self._half_closed_timeout = self._timer.timeout(HALF_CLOSED_INTERVAL, self._on_half_closed_timeout)
        self._watch_half_closed()
        return True

    def _watch_half_closed(self) -> None:
        self._progress = self._write_progress()
        self._half_closed_timeout.start()

    def _on_half_closed_timeout(self) -> None:
        if self.transport.is_closing():
            return
        if self._progress == self._write_progress() and not self.transport.get_write_buffer_size():
            self._current.presume_disconnected()
        self._watch_half_closed()

    def _write_progress(self) -> tuple[RequestCycle, int]:
        return self._current, self._current.writes

    def on_headers_complete(self) -> None:
        """Serve the request, or queue it when it is pipelined; raises RequestRejected when its head is invalid."""
        version = self.parser.get_http_version()
        self.check_head(version)
        serving = self._is_serving()
        if not serving and not self.flow.write_paused:
            self._write_timeout.stop()  # it ran for the previous response
        self._upgrades = self.parser.should_upgrade()
        if self._upgrades:
            self.begin_upgrade(version, serving)
            return
        scope = http_scope(self, version)
        if self._repeated and self._head_size == self._segment == len(self._last_segment):
            self._head_cache.store(self._last_segment, scope)
        self._in_body = True
        if self._chunked:
            self.begin_chunked_body()
        keep_alive = version != "1.0" and self.parser.should_keep_alive()
        self.cycle = cycle = RequestCycle(self, scope, keep_alive, self.expect_100_continue)
        if serving:
            self.flow.pause_reading()
            self.pipeline.append(cycle)
        else:
            self._serve(cycle)

    def _serve(self, cycle: RequestCycle) -> None:
        self._current = cycle
        self._decide(cycle, self._service.exchange(cycle.scope, cycle.receive, cycle.send))

    def _decide(self, cycle: RequestCycle, exchange: Exchange, _: object = None) -> None:
        """Run the filters; respond, run the application, or wait for a pending decision, which calls this again."""
        progress = self._service.decide(exchange)
        if progress is None:
            self._run(cycle, self._service.run(exchange))
        elif not isinstance(progress, LocalResponse):
            progress.add_done_callback(partial(self._decide, cycle, exchange))
        elif self.flow.write_paused:
            self._run(cycle, self._service.respond(exchange, progress))
        else:
            self._respond(cycle, exchange, progress)

    def _run(self, cycle: RequestCycle, serving: Awaitable[None]) -> None:
        # A new context: otherwise the next request on this connection would see the context variables of this one.
        cycle.task = self.loop.create_task(cycle.run(serving), context=Context())
        self.tasks.add(cycle.task)

    def _respond(self, cycle: RequestCycle, exchange: Exchange, response: LocalResponse) -> None:
        exchange.disconnected = exchange.disconnected_early = cycle.presumed_disconnected
        try:
            cycle.respond(response, exchange.start_response(response))
        except Exception as error:
            self._run(cycle, self._service.fail(exchange, error))
            return
        self._service.complete(exchange)
        self.on_response_complete()

    def on_body(self, body: bytes) -> None:
        """Pass a part of the body to the cycle; pause reading when the application does not consume it."""
        if self._overhead is not None:
            self._overhead.count_content(len(body))
        if not self._upgrades and not self.cycle.response_complete and self.cycle.feed(body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()

    def on_message_complete(self) -> None:
        """Reset the head size: bytes up to here, body included, do not count towards the next head."""
        if self._overhead is not None:
            self._end_chunked_body()
        self._in_body = False
        self._head_size = 0
        self._uncounted = self._segment
        if not self._upgrades and not self.cycle.response_complete:
            self.cycle.complete()

    def on_response_complete(self) -> None:
        """Serve the next pipelined request or start the idle timeout; limit the time to read the rest."""
        self.server_state.total_requests += 1
        if self._in_pipeline_loop:  # the loop below continues
            return
        if not self.transport.is_closing():
            self.flow.resume_reading()
            self._serve_pipeline()
        self._watch_unsent()

    def _serve_pipeline(self) -> None:
        self._in_pipeline_loop = True
        while self.pipeline and self._current.response_complete and not self.transport.is_closing():
            self._serve(self.pipeline.popleft())
        self._in_pipeline_loop = False
        if not self._is_serving():
            self._idle_timeout.start()

    def handle_websocket_upgrade(self) -> None:
        """Switch to the websocket protocol, which has its own timeouts."""
        self._accepts_requests = self._in_head = False
        self._timer.end()
        super().handle_websocket_upgrade()

    def pause_writing(self) -> None:
        """Start the write timeout: the client does not read."""
        super().pause_writing()
        self._write_timeout.start()

    def resume_writing(self) -> None:
        """Stop the write timeout: the client reads; the rest of a complete response gets a timeout of its own."""
        self._write_timeout.stop()
        super().resume_writing()
        self._watch_unsent()

    def reject(self, error: RequestRejected) -> None:
        """Respond with an error and close; a complete request before it is served first.

        Writes nothing into a response that has started.
        """
        if self._is_serving() and not self._in_body:
            self._accepts_requests = self.cycle.keep_alive = False
            self._header_timeout.stop()
            return
        if not self._in_body or not (self.cycle.response_started or self.pipeline):
            self.transport.write(error_response(error.status, error.detail, self.server_state.default_headers))
        self.transport.close()
        self._watch_unsent()

    def _end_chunked_body(self) -> None:
        self._overhead = None
        if not self.parser.should_keep_alive():  # a trailer can contain Connection: close, which the parser obeys
            self.cycle.keep_alive = False
            if self.cycle.response_complete:
                self.transport.close()

    def _is_serving(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _update_header_timeout(self) -> None:
        if self._is_serving() or self._idle_timeout.is_running():  # an immediate response has started the latter
            if not self._in_head:
                self._header_timeout.stop()
                return
            self._idle_timeout.stop()
            if self._is_serving():
                return
        if not self._header_timeout.is_running() and not self.transport.is_closing():
            self._header_timeout.start()

    def _on_header_timeout(self) -> None:
        if self.transport.is_closing():
            return
        if self._in_head:
            self.reject(RequestRejected(408, f"the request head did not arrive within {self.limits.header_timeout:g}s"))
        else:
            self.transport.close()

    def _watch_unsent(self) -> None:
        """Start the write timeout when a complete response is not fully read."""
        if self._unsent_size() and not self._write_timeout.is_running() and not self._is_serving():
            self._write_timeout.start()

    def _on_idle_timeout(self) -> None:
        """Close an idle connection; reset it when the client has not read the last response."""
        if self._unsent_size():
            reset(self.transport)
        else:
            self.transport.close()

    def _on_write_timeout(self) -> None:
        if self._unsent_size():
            reset(self.transport)
