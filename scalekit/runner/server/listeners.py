"""Bind the listening sockets, and describe them in the log."""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Sequence

from scalekit.config.tables import Server, split_address
from scalekit.errors import StartError
from scalekit.settings import Settings

logger = logging.getLogger("scalekit")

ADDRESS_ERRORS = (errno.EADDRNOTAVAIL, socket.EAI_NONAME, socket.EAI_AGAIN, socket.EAI_FAIL)


def listen(table: Server) -> list[socket.socket]:
    """Return listening sockets for the public address of *table*, unless its role is worker, and `management_address`.

    Raises StartError when an address cannot be bound.
    """
    sockets = [bind(table.host, table.port, table.backlog)] if table.role == "web" else []
    if table.management_address is not None:
        sockets.append(bind(*split_address(table.management_address), table.backlog))
    return sockets


def bind(host: str, port: int, backlog: int) -> socket.socket:
    """Return a listening socket; raises StartError with the remedy when the address cannot be bound."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=backlog)
    except OSError as error:
        remedy = "stop the process that listens there, or choose another port with --set server.port=PORT"
        if error.errno in ADDRESS_ERRORS:
            remedy = "name an address of this machine with --set server.host=ADDRESS"
        raise StartError(f"cannot listen on {address_of(host, port)}: {error}; {remedy}") from None


def address_of(host: str, port: int) -> str:
    """Return ``host:port``, with an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def startup_lines(settings: Settings, sockets: Sequence[socket.socket]) -> list[str]:
    """Return the log lines of the start: application, plugins, addresses and example requests."""
    table = settings.server
    with_plugins = f" with {', '.join(settings.plugins.names) or 'no plugins'}"
    by_workers = "" if table.workers is None else f" by {table.workers} workers"
    if table.role == "worker":
        pages = f"health and operators' pages are on http://{table.management_address}"
        return [
            f"running{with_plugins}{by_workers}; no requests are served",
            *([pages] if table.management_address else []),
        ]
    address = f"{'https' if table.tls else 'http'}://{address_of(*sockets[0].getsockname()[:2])}{table.root_path}"
    lines = [f"serving {settings.app.target or 'the application'}{with_plugins}{by_workers} on {address}"]
    apart = table.management_address
    if apart is not None:
        lines.append(f"health and operators' pages are on http://{apart}")
    pages = f"http://{apart}" if apart else address
    return [*lines, f"try: curl -i {address}/", f"try: curl {pages}{settings.health.path}"]


def log_lines(lines: Sequence[str]) -> None:
    """Log each of *lines*."""
    for line in lines:
        logger.info("%s", line)
