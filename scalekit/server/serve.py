"""Run one process: bind, start, serve, drain, stop."""

from __future__ import annotations

import logging
import socket
from functools import partial

import uvicorn

from scalekit.config.tables import Server as ServerTable
from scalekit.config.tables import split_address
from scalekit.errors import StartError
from scalekit.host import Host
from scalekit.server.draining import DrainingServer
from scalekit.server.protocol import HttpProtocol, Limits

logger = logging.getLogger("scalekit")


def serve(host: Host) -> int:
    """Serve *host* until a signal ends it; return the exit status.

    Raises StartError when an address cannot be bound. A plugin or application that does not start is logged, and
    the status is 1.
    """
    table = host.settings.server
    sockets = [bind(table.host, table.port, table.backlog)]
    if table.management is not None:
        sockets.append(bind(*split_address(table.management), table.backlog))
    server = DrainingServer(_config(host), host, partial(_announce, host, sockets))
    try:
        server.run(sockets)
    except SystemExit:
        return 1
    return 0 if server.started else 1


def bind(host: str, port: int, backlog: int) -> socket.socket:
    """Return a listening socket; raises StartError saying why not and what to do."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=backlog)
    except (OSError, OverflowError) as error:
        remedy = "stop what listens there, or choose another with --set server.port=PORT"
        raise StartError(f"cannot listen on {address_of(host, port)}: {error}; {remedy}") from None


def address_of(host: str, port: int) -> str:
    """Return *host* and *port* as they stand in an address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _config(host: Host) -> uvicorn.Config:
    table = host.settings.server
    limits = Limits(table.header_timeout, table.write_timeout, table.max_header)
    return uvicorn.Config(
        host,
        http=partial(HttpProtocol, limits),  # type: ignore[arg-type]
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


def _announce(host: Host, sockets: list[socket.socket]) -> None:
    table: ServerTable = host.settings.server
    names = ", ".join(host.start_order) or "no plugins"
    address = f"http://{address_of(*sockets[0].getsockname()[:2])}{table.root_path}"
    logger.info("serving %s with %s on %s", host.settings.app.target or "the application", names, address)
    if table.management is not None:
        logger.info("health and operators' pages are on http://%s", table.management)
    logger.info("try: curl -i %s/", address)
    operators = address if table.management is None else f"http://{table.management}"
    logger.info("try: curl %s%s", operators, host.settings.health.path)
