"""uvicorn's server with an end that drops nothing.

On SIGTERM readiness turns at once, so that balancers look away; for the drain time connections are still taken, and
every answer asks its client to connect anew next time, so that few idle ones are left to close. Then the listeners
close, requests in flight finish within their time, and what is left is cut and named. SIGINT, which a person sends,
does not wait for balancers. A second signal waits for nothing: what drains or stops is cut. Where a thread or the
event loop hangs, the process ends regardless. So it does when a thread survives the last stop.

A signal before the application has started ends the start: what has started stops again in reverse, and the status is
0, since the process did what it was told.

A worker that retires, because another takes its place, is not missed by any balancer: its listeners close at once, and
it stays ready for the connections that it has until they are gone, or the drain time is over.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import uvicorn

from scalekit.host import Host
from scalekit.runner.memory.gc_control import settle
from scalekit.runner.server.listener_drain import drop_new_syns, has_pending_connections
from scalekit.runner.server.watchdog import Watchdog
from scalekit.server_info import SERVER_INFO, WORKER, ServerInfo

logger = logging.getLogger("scalekit")

CUT_GRACE = 1.0
"""Seconds that requests which were cut get to unwind."""
LAST_MOMENT = 0.5
"""Seconds in which a connection that was made at the last moment brings its request."""
FORCED_GRACE = 4.0
"""Seconds after a second signal in which requests are cut and plugins unwind, before the process ends regardless."""
THREAD_GRACE = 5.0
"""Seconds that threads get to end when all has stopped."""
HURRIED_GRACE = 0.5
"""The same after a second signal."""
NAMED = 5
"""How many of the requests that were cut the log names."""


class GracefulServer(uvicorn.Server):
    """One server process."""

    def __init__(self, config: uvicorn.Config, host: Host, announce: Callable[[], None], worker: str = "") -> None:
        super().__init__(config)
        self.host = host
        host.context.provide(WORKER, worker)
        self.announce = announce
        table = host.settings.server
        self.drain_time = float(table.drain) if table.role == "web" else 0.0  # no balancer looks at a worker
        self.retiring = False
        self.served: ServerInfo | None = None
        self._signalled = False
        self._watchdog = Watchdog()

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve *sockets* to the end; threads that go on afterwards are waited for no longer than a moment."""
        try:
            await super().serve(sockets)
        finally:
            self._watchdog.end_within(HURRIED_GRACE if self.force_exit else THREAD_GRACE, self.exit_status)

    @property
    def exit_status(self) -> int:
        """The status of the process once it has served; a start that a signal ended has not failed."""
        if self.host.lifecycle.stop_failures:
            return 1
        return 0 if self.started or self.should_exit else 1

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, then take connections and say where."""
        if sockets:
            self._tell_where(sockets)
        await super().startup(sockets)
        settle(self.host.settings.server.memory)
        self.announce()

    def _tell_where(self, sockets: list[socket.socket]) -> None:
        settings = self.host.settings
        (host, port), *apart = [each.getsockname()[:2] for each in sockets]
        self.served = ServerInfo(
            host, port, f"{settings.health.path}/ready", apart[0] if apart else None, self.retiring
        )
        self.host.context.withdraw(SERVER_INFO)
        self.host.context.provide(SERVER_INFO, self.served)

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Handle signals while serving; unlike uvicorn's, the process then ends with its own status."""
        self._loop = asyncio.get_running_loop()
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = (signal.SIGINT, signal.SIGTERM)
        for number in numbers:
            signal.signal(number, self.handle_exit)
        try:
            yield
        finally:
            for number in numbers:
                signal.signal(number, self._hasten)

    def _hasten(self, sig: int, frame: FrameType | None) -> None:
        """Wait no longer for what is left of a process that has served."""
        self._watchdog.end_within(0.0, self.exit_status)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain, or end a start that is not complete; at the second signal stop at once."""
        self.force_exit = self._signalled
        self._signalled = self.should_exit = True
        if self.force_exit:
            self._watchdog.end_within(FORCED_GRACE, self.exit_status)
        if sig == signal.SIGINT:
            self.drain_time = 0.0
        lifecycle = self.host.lifecycle
        lifecycle.begin_drain()
        # A signal comes between any two instructions, and the loop may be asleep.
        self._loop.call_soon_threadsafe(lifecycle.hurry if self.force_exit else lifecycle.end_start)

    def retire(self) -> None:
        """Begin to end while others go on serving the same address."""
        self.retiring = self.should_exit = True
        if self.served is not None:
            self.served.retiring = True
        self.host.lifecycle.end_start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain, finish, cut what is left, stop the application."""
        logger.info("draining: %d requests in flight", len(self.server_state.tasks))
        if self.retiring:
            self._close_listeners(sockets)
            await self.host.lifecycle.retire()
        else:
            await self.host.lifecycle.drain()
        await self._linger()
        await self._close_gently(sockets)
        self.host.lifecycle.begin_drain()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        cut = await self._finish()
        if cut:  # told while the plugin that logs is still there
            logger.warning("stopped; %s", _summary(cut))
        else:
            logger.info("stopped; every request was answered")
        await self.lifespan.shutdown()

    async def _close_gently(self, sockets: list[socket.socket] | None) -> None:
        """Close the listeners, and serve those who came at the last moment: their requests are on the way."""
        loop = asyncio.get_running_loop()
        end = loop.time() + (LAST_MOMENT if self.drain_time else 0.0)
        if not self.retiring and self.drain_time:
            drop_new_syns(sockets or ())
            while has_pending_connections(sockets or ()) and loop.time() < end and not self.force_exit:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.02)  # one that was accepted is a connection here some turns of the loop later
        self._close_listeners(sockets)
        connections = self.server_state.connections
        while any(map(_is_new, connections)) and loop.time() < end and not self.force_exit:  # noqa: ASYNC110
            await asyncio.sleep(0.005)

    def _close_listeners(self, sockets: list[socket.socket] | None) -> None:
        for server in self.servers:
            server.close()
        for each in sockets or ():
            each.close()

    async def _linger(self) -> None:
        """Serve on for the drain time; a worker that retires, only while anybody is connected."""
        self.config.encoded_headers = [*self.config.encoded_headers, (b"connection", b"close")]
        loop = asyncio.get_running_loop()
        end = loop.time() + self.drain_time
        while loop.time() < end and not self.force_exit:
            if self.retiring and not self.server_state.connections:
                return
            await self.on_tick(0)
            await asyncio.sleep(min(0.1, max(0.0, end - loop.time())))

    async def _finish(self) -> list[str]:
        """Wait for what is in flight, then cut the rest and return what it was."""
        state = self.server_state
        loop = asyncio.get_running_loop()
        end = loop.time() + self.host.settings.server.graceful_timeout
        # uvicorn keeps both as plain sets: there is no event to wait for.
        while (state.connections or state.tasks) and loop.time() < end and not self.force_exit:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        cut = [name for connection in state.connections if (name := _open_request(connection))]
        tasks = set(state.tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=CUT_GRACE)
        for connection in list(state.connections):
            connection.transport.abort()
        return cut or [f"a task of {task.get_name()}" for task in tasks]


def _is_new(connection: Any) -> bool:
    """Tell whether nothing has come on *connection* yet."""
    return getattr(connection, "cycle", connection) is None


def _open_request(connection: Any) -> str:
    """Return what *connection* is serving, or nothing when it is idle."""
    cycle = getattr(connection, "cycle", None)
    if cycle is not None and not cycle.response_complete:
        return f"{cycle.scope['method']} {cycle.scope['path']!r}"
    scope = getattr(connection, "scope", None)
    return f"websocket {scope['path']!r}" if scope and scope["type"] == "websocket" else ""


def _summary(cut: list[str]) -> str:
    more = f" and {len(cut) - NAMED} more" if len(cut) > NAMED else ""
    return f"cut {len(cut)} requests in flight: {', '.join(cut[:NAMED])}{more}"
