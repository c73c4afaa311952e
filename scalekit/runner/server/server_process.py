"""Run the server in one process: bind, start, serve, drain, stop."""

from __future__ import annotations

import socket
from functools import partial

import uvicorn

from scalekit.host import Host
from scalekit.runner.server.graceful_shutdown import GracefulServer
from scalekit.runner.server.listeners import listen, log_lines, startup_lines
from scalekit.runner.server.protocol import HttpProtocol
from scalekit.runner.server.request_head_cache import RequestHeadCache
from scalekit.runner.server.request_parser import ConnectionLimits
from scalekit.runner.server.unix_listener import remove_files
from scalekit.runner.server.websocket import WebSocketProtocol


def serve(host: Host) -> int:
    """Serve *host* until a signal stops it; return the exit status.

    Raises StartError when an address cannot be bound. When a plugin or the application fails to start, the error is
    logged and the status is 1.
    """
    sockets = listen(host.settings.server)
    lines = startup_lines(host.settings, sockets)
    try:
        return run(GracefulServer(server_config(host), host, partial(log_lines, lines)), sockets)
    finally:
        remove_files(sockets)


def run(server: GracefulServer, sockets: list[socket.socket]) -> int:
    """Run *server* until it stops; return the exit status, which is 0 when a signal cancelled the start."""
    try:
        server.run(sockets)
    except SystemExit:
        return 0 if server.should_exit else 1
    return server.exit_status


def import_server(host: Host) -> None:
    """Import the event loop and the other modules that uvicorn imports at a start, before workers are forked."""
    config = server_config(host)
    config.load()
    config.get_loop_factory()


def server_config(host: Host) -> uvicorn.Config:
    """Return uvicorn's configuration for *host*."""
    table = host.settings.server
    limits = ConnectionLimits(table.header_timeout, table.write_timeout, table.max_header)
    return uvicorn.Config(
        host,
        http=partial(HttpProtocol, limits, host, RequestHeadCache()),  # type: ignore[arg-type]  # a factory, not a class
        ws=WebSocketProtocol,
        lifespan="on",
        interface="asgi3",
        root_path=table.root_path,
        backlog=table.backlog,
        timeout_keep_alive=table.keep_alive_timeout,  # type: ignore[arg-type]  # a float also works
        reset_contextvars=True,
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_config=None,
    )
