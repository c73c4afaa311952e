"""Run one process: bind, start, serve, drain, stop."""

from __future__ import annotations

import socket
from functools import partial

import uvicorn

from scalekit.host import Host
from scalekit.runner.server.graceful_shutdown import GracefulServer
from scalekit.runner.server.listeners import announce, announcement, listen
from scalekit.runner.server.protocol import HttpProtocol
from scalekit.runner.server.request_head_cache import RequestHeadCache
from scalekit.runner.server.request_parser import ConnectionLimits
from scalekit.runner.server.websocket import WebSocketProtocol


def serve(host: Host) -> int:
    """Serve *host* until a signal ends it; return the exit status.

    Raises StartError when an address cannot be bound. A plugin or application that does not start is logged, and
    the status is 1.
    """
    sockets = listen(host.settings.server)
    lines = announcement(host.settings, sockets)
    server = GracefulServer(server_config(host), host, partial(announce, lines))
    return run(server, sockets)


def run(server: GracefulServer, sockets: list[socket.socket]) -> int:
    """Run *server* to its end and return the exit status; a start that a signal ended has not failed."""
    try:
        server.run(sockets)
    except SystemExit:
        return 0 if server.should_exit else 1
    return server.exit_status


def import_server(host: Host) -> None:
    """Import the event loop and what else uvicorn imports at a start, before workers are forked."""
    config = server_config(host)
    config.load()
    config.get_loop_factory()


def server_config(host: Host) -> uvicorn.Config:
    """Return uvicorn's configuration for *host*."""
    table = host.settings.server
    limits = ConnectionLimits(table.header_timeout, table.write_timeout, table.max_header)
    return uvicorn.Config(
        host,
        http=partial(HttpProtocol, limits, host, RequestHeadCache()),  # type: ignore[arg-type]
        ws=WebSocketProtocol,
        lifespan="on",
        interface="asgi3",
        root_path=table.root_path,
        backlog=table.backlog,
        timeout_keep_alive=table.keep_alive,  # type: ignore[arg-type]
        reset_contextvars=True,
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_config=None,
    )
