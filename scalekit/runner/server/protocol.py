"""An HTTP/1.1 connection: uvicorn's, with the deadlines and bounds that it lacks, and fewer steps to a request.

uvicorn alone keeps a connection for as long as its client likes: a head that never ends, a trickle of blank lines, an
answer that nobody reads. Here a connection that is not inside a request has a deadline, which data does not prolong;
a head has a size; and what was written must be taken within a time. Bodies are bounded in ``scalekit.http.body_limit``.
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
from scalekit.runner.server.connection_timeouts import ConnectionTimer
from scalekit.runner.server.error_response import RequestRejected, error_response
from scalekit.runner.server.exchange_handler import ExchangeHandler
from scalekit.runner.server.listeners import reset
from scalekit.runner.server.request_cycle import RequestCycle
from scalekit.runner.server.request_head_cache import MAX_BYTES, RequestHeadCache
from scalekit.runner.server.request_parser import ConnectionLimits, RequestParser
from scalekit.runner.server.scope import http_scope, known_scope

SILENCE = 2.0
"""Seconds for which nothing may be written to a client that has closed its side of the connection."""


class HttpProtocol(RequestParser):
    """One connection: the filters of *service* respond at once where they can; the application gets a task."""

    cycle: Any  # a RequestCycle, where uvicorn has its own kind
    pipeline: deque[Any]
    _serves_pipeline = False
    _last = b""
    _repeats = False

    def __init__(
        self,
        limits: ConnectionLimits,
        service: ExchangeHandler,
        known_heads: RequestHeadCache,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(limits, config, server_state, app_state, _loop)
        self._service = service
        self._known_heads = known_heads
        self._running: Any = None  # a RequestCycle, once a request has come
        self._timer = ConnectionTimer(self.loop)
        self._head_deadline = self._timer.deadline(limits.header_timeout, self._on_slow_head)
        self._write_deadline = self._timer.deadline(limits.write_timeout, self._on_slow_reader)
        self._idle_deadline = self._timer.deadline(self.timeout_keep_alive, self._on_idle)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock for the first request."""
        super().connection_made(transport)
        self._head_deadline.start()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop every clock, and tell the requests that are served here, or wait to be."""
        self._timer.end()
        self.connections.discard(self)
        for cycle in (self._running, self.cycle):
            if cycle is not None:
                cycle.disconnect()
        self.flow.resume_writing()
        self.parser = None
        if exc is None:
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Parse *data*; afterwards either a request is being served or the clock for the next one runs."""
        if not self._takes_requests:
            return
        self._idle_deadline.stop()
        scope = self._known_heads.find(data)
        if scope is None or self._head_size or self._is_serving():  # in the middle of a message, or behind another
            self._repeats = data == self._last
            self._last = data if len(data) <= MAX_BYTES else b""
            self.parse(data)
        else:
            self._serve_known(scope)
        if self._takes_requests:
            self._watch_head()

    def _serve_known(self, known: Scope) -> None:
        """Serve a request without a body, whose head is *known*, as :meth:`on_headers_complete` does."""
        if not self.flow.write_paused:
            self._write_deadline.stop()
        self.cycle = cycle = RequestCycle(self, known_scope(self, known), True, False)
        cycle.complete()
        self._serve(cycle)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Go on writing to a client that has sent whole requests and closed its side (RFC 9112, section 9.6).

        One that has closed both sides looks the same until something is written to it, so an application that listens
        is told that its client left when the response stands still.
        """
        if not self._is_serving() or self._in_body:
            return False
        self._takes_requests = self.cycle.keep_alive = False
        self._head_deadline.stop()
        self._silence = self._timer.deadline(SILENCE, self._on_silence)
        self._watch_silence()
        return True

    def _watch_silence(self) -> None:
        self._written = self._written_so_far()
        self._silence.start()

    def _on_silence(self) -> None:
        if self.transport.is_closing():
            return
        if self._written == self._written_so_far() and not self.transport.get_write_buffer_size():
            self._running.leave()
        self._watch_silence()

    def _written_so_far(self) -> tuple[RequestCycle, int]:
        return self._running, self._running.writes

    def on_headers_complete(self) -> None:
        """Serve the request unless its head is too large; one behind another waits for it."""
        version = self.parser.get_http_version()
        self.check_head(version)
        serving = self._is_serving()
        if not serving and not self.flow.write_paused:
            self._write_deadline.stop()  # it ran for the answer before, and the next one gets its own
        self._upgrades = self.parser.should_upgrade()
        if self._upgrades:
            self.begin_upgrade(version, serving)
            return
        scope = http_scope(self, version)
        if self._repeats and self._head_size == self._segment == len(self._last):
            self._known_heads.remember(self._last, scope)
        self._in_body = True
        if self._chunked:
            self.begin_chunks()
        keep_alive = version != "1.0" and self.parser.should_keep_alive()
        self.cycle = cycle = RequestCycle(self, scope, keep_alive, self.expect_100_continue)
        if serving:
            self.flow.pause_reading()
            self.pipeline.append(cycle)
        else:
            self._serve(cycle)

    def _serve(self, cycle: RequestCycle) -> None:
        self._running = cycle
        self._decide(cycle, self._service.exchange(cycle.scope, cycle.receive, cycle.send))

    def _decide(self, cycle: RequestCycle, exchange: Exchange, _: object = None) -> None:
        """Let filters decide, and do what comes of it; a reply that one of them waits for calls this again."""
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
        # A context of its own: what one request sets there, the next one on this connection would see otherwise.
        cycle.task = self.loop.create_task(cycle.run(serving), context=Context())
        self.tasks.add(cycle.task)

    def _respond(self, cycle: RequestCycle, exchange: Exchange, response: LocalResponse) -> None:
        exchange.disconnected = exchange.disconnected_early = cycle.left
        try:
            cycle.respond(response, exchange.start_response(response))
        except Exception as error:
            self._run(cycle, self._service.fail(exchange, error))
            return
        self._service.complete(exchange)
        self.on_response_complete()

    def on_body(self, body: bytes) -> None:
        """Hand a part of a body to the application that reads it."""
        if self._overhead is not None:
            self._overhead.take_content(len(body))
        if not self._upgrades and not self.cycle.response_complete and self.cycle.feed(body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()

    def on_message_complete(self) -> None:
        """Begin to count anew: what has come until here, a body too, is not part of the next head."""
        if self._overhead is not None:
            self._end_chunks()
        self._in_body = False
        self._head_size = 0
        self._uncounted = self._segment
        if not self._upgrades and not self.cycle.response_complete:
            self.cycle.complete()

    def on_response_complete(self) -> None:
        """Go on to the request that waits, if one does; give the client its time to take what is left to be taken."""
        self.server_state.total_requests += 1
        if self._serves_pipeline:  # the loop below goes on
            return
        if not self.transport.is_closing():
            self.flow.resume_reading()
            self._serve_pipeline()
        self._watch_rest()

    def _serve_pipeline(self) -> None:
        self._serves_pipeline = True
        while self.pipeline and self._running.response_complete and not self.transport.is_closing():
            self._serve(self.pipeline.popleft())
        self._serves_pipeline = False
        if not self._is_serving():
            self._idle_deadline.start()

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

    def refuse(self, why: RequestRejected) -> None:
        """Refuse what the client sent; a request that came whole before it is answered, and then the connection ends.

        Nothing is written into an answer that has begun.
        """
        if self._is_serving() and not self._in_body:
            self._takes_requests = self.cycle.keep_alive = False
            self._head_deadline.stop()
            return
        if not self._in_body or not (self.cycle.response_started or self.pipeline):
            self.transport.write(error_response(why.status, why.detail, self.server_state.default_headers))
        self.transport.close()
        self._watch_rest()

    def _end_chunks(self) -> None:
        self._overhead = None
        if not self.parser.should_keep_alive():  # a trailer may say so: the parser heeds it, and reads nothing more
            self.cycle.keep_alive = False
            if self.cycle.response_complete:
                self.transport.close()

    def _is_serving(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _watch_head(self) -> None:
        if self._is_serving() or self._idle_deadline.runs():  # a response that went out at once has started that
            if not self._in_head:
                self._head_deadline.stop()
                return
            self._idle_deadline.stop()
            if self._is_serving():
                return
        if not self._head_deadline.runs() and not self.transport.is_closing():
            self._head_deadline.start()

    def _on_slow_head(self) -> None:
        if self.transport.is_closing():
            return
        if self._in_head:
            self.refuse(RequestRejected(408, f"the request head did not arrive within {self.limits.header_timeout:g}s"))
        else:
            self.transport.close()

    def _watch_rest(self) -> None:
        """Start the clock for what is left of an answer that is complete."""
        if self.transport.get_write_buffer_size() and not self._write_deadline.runs() and not self._is_serving():
            self._write_deadline.start()

    def _on_idle(self) -> None:
        """End an idle connection, also when its client has not read the last answer."""
        if self.transport.get_write_buffer_size():
            reset(self.transport)
        else:
            self.transport.close()

    def _on_slow_reader(self) -> None:
        if self.transport.get_write_buffer_size():
            reset(self.transport)
