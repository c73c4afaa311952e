"""The addresses that are served: bound once, and told; and how a connection to one is cut."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import struct
from collections.abc import Sequence

from scalekit.config.tables import Server, split_address
from scalekit.errors import StartError
from scalekit.settings import Settings

logger = logging.getLogger("scalekit")

RESET_ON_CLOSE = struct.pack("ii", 1, 0)
NOT_THIS_MACHINES = (errno.EADDRNOTAVAIL, socket.EAI_NONAME, socket.EAI_AGAIN, socket.EAI_FAIL)


def listen(table: Server) -> list[socket.socket]:
    """Return listening sockets for the address of *table* and, where there is one, its management address.

    A worker has the latter alone. Raises StartError when an address cannot be bound.
    """
    sockets = [bind(table.host, table.port, table.backlog)] if table.role == "web" else []
    if table.management is not None:
        sockets.append(bind(*split_address(table.management), table.backlog))
    return sockets


def bind(host: str, port: int, backlog: int) -> socket.socket:
    """Return a listening socket; raises StartError saying why not and what to do."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=backlog)
    except OSError as error:
        remedy = "stop what listens there, or choose another with --set server.port=PORT"
        if error.errno in NOT_THIS_MACHINES:
            remedy = "name an address of this machine with --set server.host=ADDRESS"
        raise StartError(f"cannot listen on {address_of(host, port)}: {error}; {remedy}") from None


def address_of(host: str, port: int) -> str:
    """Return *host* and *port* as they stand in an address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def announcement(settings: Settings, sockets: Sequence[socket.socket]) -> list[str]:
    """Return the lines that say what is served, by what and where, and what to try."""
    table = settings.server
    with_plugins = f" with {', '.join(settings.plugins.names) or 'no plugins'}"
    by_workers = "" if table.workers is None else f" by {table.workers} workers"
    if table.role == "worker":
        pages = f"health and operators' pages are on http://{table.management}"
        return [f"running{with_plugins}{by_workers}; no requests are served", *([pages] if table.management else [])]
    address = f"http://{address_of(*sockets[0].getsockname()[:2])}{table.root_path}"
    lines = [f"serving {settings.app.target or 'the application'}{with_plugins}{by_workers} on {address}"]
    apart = table.management
    if apart is not None:
        lines.append(f"health and operators' pages are on http://{apart}")
    pages = f"http://{apart}" if apart else address
    return [*lines, f"try: curl -i {address}/", f"try: curl {pages}{settings.health.path}"]


def announce(lines: Sequence[str]) -> None:
    """Log *lines*."""
    for line in lines:
        logger.info("%s", line)


def reset(transport: asyncio.Transport) -> None:
    """End a connection and give up what its client does not take, which the kernel would keep for minutes."""
    connection = transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    transport.abort()
