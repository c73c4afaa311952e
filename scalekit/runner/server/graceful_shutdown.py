"""Shut down gracefully: drain, finish requests in flight, stop the application.

After SIGTERM readiness turns 503 at once. For `drain_delay` the listeners stay open, so that load balancers notice, and
every response closes its connection, so that few idle connections remain. Then the listeners close, requests in flight
finish within `graceful_timeout`, and the remaining ones are cancelled and logged. SIGINT, from a terminal, skips the
drain. A second signal cancels everything at once. The watchdog exits the process when a thread or the event loop hangs.

A signal before the application has started cancels the start: started plugins stop in reverse, and the status is 0.

A worker that is replaced retires: its listeners close at once, because other workers accept on the same address, and it
stays ready for its open connections until they close or `drain_delay` is over.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any

import uvicorn

from scalekit.host import Host
from scalekit.runner.memory.gc_control import collect_and_freeze
from scalekit.runner.server.connection_close import abort_flushed
from scalekit.runner.server.listener_drain import drop_new_syns, has_pending_connections
from scalekit.runner.server.listeners import bound_address
from scalekit.runner.server.tls import TlsListener
from scalekit.runner.server.unix_listener import remove_files
from scalekit.runner.server.watchdog import Watchdog
from scalekit.runner.service_manager import ServiceManager
from scalekit.server_info import SERVER_INFO, WORKER, ServerInfo

logger = logging.getLogger("scalekit")

CANCEL_GRACE = 1.0
"""Seconds for cancelled requests to unwind."""
LISTENER_DRAIN_TIMEOUT = 0.5
"""Seconds to accept pending connections and wait for their first request before the listeners close."""
FORCED_GRACE = 4.0
"""Seconds after a second signal for cancelled requests and plugins to unwind, before the process is forced to exit."""
THREAD_GRACE = 5.0
"""Seconds for threads to end after everything has stopped."""
FORCED_THREAD_GRACE = 0.5
"""The same after a second signal."""
MAX_LOGGED_REQUESTS = 5
"""Cancelled requests that the log names, at most."""


class GracefulServer(uvicorn.Server):
    """The server of one process."""

    def __init__(self, config: uvicorn.Config, host: Host, on_started: Callable[[], None], worker: str = "") -> None:
        super().__init__(config)
        self.host = host
        host.context.provide(WORKER, worker)
        self.on_started = on_started
        table = host.settings.server
        self.drain_delay = float(table.drain_delay) if table.role == "web" else 0.0  # no load balancer checks it
        self.retiring = False
        self.server_info: ServerInfo | None = None
        self._tls: TlsListener | None = None
        if table.tls is not None and table.role == "web":
            self._tls = TlsListener(table.tls, table.backlog, table.write_timeout)
        self._manager = ServiceManager()
        self._signalled = False
        self._watchdog = Watchdog()

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve *sockets* until shutdown; afterwards threads have THREAD_GRACE to end."""
        reports = asyncio.create_task(self._manager.keep_alive(lambda: True))
        try:
            await super().serve(sockets)
        finally:
            reports.cancel()
            self._watchdog.exit_within(FORCED_THREAD_GRACE if self.force_exit else THREAD_GRACE, self.exit_status)

    @property
    def exit_status(self) -> int:
        """The exit status of the process; 0 when a signal cancelled the start."""
        if self.host.lifecycle.stop_failures:
            return 1
        return 0 if self.started or self.should_exit else 1

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, then accept connections."""
        if sockets:
            self._provide_server_info(sockets)
        await super().startup([])  # starts the application
        for number, each in enumerate(sockets or ()):
            self.servers.append(await self._accept(each, None if number else self._tls))  # management is plain
        collect_and_freeze(self.host.settings.server.memory)
        self.on_started()
        self._manager.ready("serving")

    async def _accept(self, listener: socket.socket, tls: TlsListener | None) -> asyncio.Server:
        protocol: Any = self.config.http_protocol_class
        create = partial(protocol, config=self.config, server_state=self.server_state, app_state=self.lifespan.state)
        if tls is not None:
            return await tls.serve(listener, create)
        return await asyncio.get_running_loop().create_server(create, sock=listener, backlog=self.config.backlog)

    def _provide_server_info(self, sockets: list[socket.socket]) -> None:
        settings = self.host.settings
        (host, port), *others = map(bound_address, sockets)
        management = others[0] if others else None
        path, tls = f"{settings.health.path}/ready", self._tls is not None
        self.server_info = ServerInfo(host, port, path, management, tls, self.retiring)
        self.host.context.withdraw(SERVER_INFO)
        self.host.context.provide(SERVER_INFO, self.server_info)

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Handle signals while serving; unlike with uvicorn, the process exits with its own status."""
        self._loop = asyncio.get_running_loop()
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = (signal.SIGINT, signal.SIGTERM)
        for number in numbers:
            signal.signal(number, self.handle_exit)
        if hasattr(signal, "SIGHUP") and (self._tls is not None or self._manager.exists):
            signal.signal(signal.SIGHUP, self._on_sighup)
        try:
            yield
        finally:
            for number in numbers:
                signal.signal(number, self._exit_now)

    def _exit_now(self, sig: int, frame: FrameType | None) -> None:
        """Exit at once: a signal arrived after the shutdown was complete."""
        self._watchdog.exit_within(0.0, self.exit_status)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Start to drain, or cancel an incomplete start; stop at once on the second signal."""
        self.force_exit = self._signalled
        self._signalled = self.should_exit = True
        if self.force_exit:
            self._watchdog.exit_within(FORCED_GRACE, self.exit_status)
        if sig == signal.SIGINT:
            self.drain_delay = 0.0
        lifecycle = self.host.lifecycle
        lifecycle.begin_drain()
        # A signal handler runs between any two instructions, and the loop may be waiting in select.
        self._loop.call_soon_threadsafe(lifecycle.force_stop if self.force_exit else lifecycle.cancel_start)

    def _on_sighup(self, sig: int, frame: FrameType | None) -> None:
        self._loop.call_soon_threadsafe(self._reload)

    def _reload(self) -> None:
        """Read the certificate again; the file of the configuration is read by new workers only."""
        self._manager.reloading()
        if self._tls is not None:
            self._tls.reload()
        else:
            logger.warning("SIGHUP replaces workers and reads the certificate again: there are none")
        self._manager.ready("serving")

    def retire(self) -> None:
        """Start to shut down while other workers keep serving the same address."""
        self.retiring = self.should_exit = True
        if self.server_info is not None:
            self.server_info.retiring = True
        self.host.lifecycle.cancel_start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain, finish requests in flight, cancel the remaining ones, stop the application."""
        self._manager.stopping()
        logger.info("draining: %d requests in flight", len(self.server_state.tasks))
        if self.retiring:
            self._close_listeners(sockets)
            await self.host.lifecycle.notify_drain()
        else:
            await self.host.lifecycle.drain()
        await self._serve_drain_delay()
        await self._drain_listeners(sockets)
        self.host.lifecycle.begin_drain()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        cancelled = await self._finish_requests()
        if cancelled:  # logged while the logging plugin still runs
            logger.warning("stopped; %s", _summary(cancelled))
        else:
            logger.info("stopped; all requests completed")
        await self.lifespan.shutdown()

    async def _drain_listeners(self, sockets: list[socket.socket] | None) -> None:
        """Accept the connections in the queues of the listeners, close these, and wait for the first requests."""
        loop = asyncio.get_running_loop()
        end = loop.time() + (LISTENER_DRAIN_TIMEOUT if self.drain_delay else 0.0)
        remove_files(sockets or ())
        if not self.retiring and self.drain_delay:
            drop_new_syns(sockets or ())
            while has_pending_connections(sockets or ()) and loop.time() < end and not self.force_exit:  # noqa: ASYNC110 - kernel state
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.02)  # an accepted socket becomes a connection a few loop iterations later
        self._close_listeners(sockets)
        connections = self.server_state.connections
        while (self._has_handshakes() or any(map(_is_new, connections))) and loop.time() < end and not self.force_exit:  # noqa: ASYNC110 - kernel state
            await asyncio.sleep(0.005)

    def _has_handshakes(self) -> bool:
        return self._tls is not None and self._tls.has_handshakes()

    def _close_listeners(self, sockets: list[socket.socket] | None) -> None:
        for server in self.servers:
            server.close()
        for each in sockets or ():
            each.close()

    async def _serve_drain_delay(self) -> None:
        """Keep serving for `drain_delay`; a retiring worker stops early when it has no connection left."""
        self.config.encoded_headers = [*self.config.encoded_headers, (b"connection", b"close")]
        loop = asyncio.get_running_loop()
        end = loop.time() + self.drain_delay
        while loop.time() < end and not self.force_exit:
            if self.retiring and not self.server_state.connections and not self._has_handshakes():
                return
            await self.on_tick(0)
            await asyncio.sleep(min(0.1, max(0.0, end - loop.time())))

    async def _finish_requests(self) -> list[str]:
        """Wait for requests in flight, then cancel the remaining ones; return a description of each."""
        state = self.server_state
        loop = asyncio.get_running_loop()
        end = loop.time() + self.host.settings.server.graceful_timeout
        # uvicorn holds both in plain sets, so there is no event to wait for.
        while (state.connections or state.tasks) and loop.time() < end and not self.force_exit:
            if self._tls is not None:
                abort_flushed(state.connections)
            await asyncio.sleep(0.02)
        cancelled = [name for connection in state.connections if (name := _open_request(connection))]
        tasks = set(state.tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=CANCEL_GRACE)
        for connection in list(state.connections):
            connection.transport.abort()
        return cancelled or [f"a task of {task.get_name()}" for task in tasks]


def _is_new(connection: object) -> bool:
    """Return whether *connection* has received nothing yet."""
    return getattr(connection, "cycle", connection) is None


def _open_request(connection: object) -> str:
    """Return method and path of the request on *connection*, or an empty string when it is idle."""
    cycle = getattr(connection, "cycle", None)
    if cycle is not None and not cycle.response_complete:
        return f"{cycle.scope['method']} {cycle.scope['path']!r}"
    scope = getattr(connection, "scope", None)
    return f"websocket {scope['path']!r}" if scope and scope["type"] == "websocket" else ""


def _summary(cancelled: list[str]) -> str:
    more = f" and {len(cancelled) - MAX_LOGGED_REQUESTS} more" if len(cancelled) > MAX_LOGGED_REQUESTS else ""
    return f"cancelled {len(cancelled)} requests in flight: {', '.join(cancelled[:MAX_LOGGED_REQUESTS])}{more}"
