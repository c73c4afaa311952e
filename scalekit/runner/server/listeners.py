"""Bind the listening sockets, or take those of the service manager, and describe them in the log."""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Sequence

from scalekit.config.field_types import UNIX, socket_path
from scalekit.config.tables import Server, split_address
from scalekit.errors import StartError
from scalekit.runner.server.socket_activation import MANAGEMENT, WEB, activated_sockets
from scalekit.runner.server.unix_listener import UnixListener, is_unix, socket_name
from scalekit.settings import Settings

logger = logging.getLogger("scalekit")

ADDRESS_ERRORS = (errno.EADDRNOTAVAIL, socket.EAI_NONAME, socket.EAI_AGAIN, socket.EAI_FAIL)


def listen(table: Server) -> list[socket.socket]:
    """Return listening sockets for the public address of *table*, unless its role is worker, and `management_address`.

    Sockets of the service manager are used instead of binding. Raises StartError when an address cannot be bound.
    """
    activated = activated_sockets()
    if WEB in activated and table.role != "web":
        raise StartError(
            "the service manager passed a socket for requests, but server.role is worker; "
            "write FileDescriptorName=management for that of management_address"
        )
    options = table.backlog, int(table.socket_mode, 8)
    sockets = [activated.get(WEB) or bind(table.host, table.port, *options)] if table.role == "web" else []
    if MANAGEMENT in activated:
        sockets.append(_management_socket(activated[MANAGEMENT], table.management_address))
    elif table.management_address is not None:
        second = table.management_address
        sockets.append(bind(*((second, 0) if socket_path(second) else split_address(second)), *options))
    return sockets


def _management_socket(passed: socket.socket, address: str | None) -> socket.socket:
    """Return the socket of the service manager; requests are told apart by the port or path of `management_address`."""
    if address is None:
        raise StartError(
            f"the service manager passed a socket named management, {listener_address(passed)}; "
            "write its address as server.management_address"
        )
    same = (
        socket_name(passed) == socket_path(address)
        if is_unix(passed)
        else (not socket_path(address) and passed.getsockname()[1] == split_address(address)[1])
    )
    if not same:
        raise StartError(
            f"the service manager passed {listener_address(passed)} as management, but server.management_address is "
            f"{address}; write the same in both"
        )
    return passed


def bind(host: str, port: int, backlog: int, mode: int = 0o660) -> socket.socket:
    """Return a listening socket; raises StartError with the remedy when the address cannot be bound.

    *host* may be a Unix socket, whose file gets *mode*.
    """
    try:
        if name := socket_path(host):
            return UnixListener(name, mode, backlog)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=backlog)
    except OSError as error:
        reason = error.strerror if host.startswith(UNIX) else error
        raise StartError(f"cannot listen on {address_of(host, port)}: {reason}; {_remedy(host, error)}") from None


def _remedy(host: str, error: OSError) -> str:
    if host.startswith(UNIX):
        if error.errno == errno.EADDRINUSE:
            return "stop the process that listens there, or choose another path"
        if error.errno == errno.EAFNOSUPPORT:
            return "name an address such as 127.0.0.1 with --set server.host=ADDRESS"
        return "choose a path in a folder where this user may create files"
    if error.errno in ADDRESS_ERRORS:
        return "name an address of this machine with --set server.host=ADDRESS"
    return "stop the process that listens there, or choose another port with --set server.port=PORT"


def address_of(host: str, port: int) -> str:
    """Return ``host:port``, with an IPv6 address in brackets, or the address of a Unix socket."""
    if host.startswith(UNIX):
        return host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def bound_address(listener: socket.socket) -> tuple[str, int]:
    """Return host and port of *listener*; ``unix:`` with the path and 0 for a Unix socket."""
    if is_unix(listener):
        return f"{UNIX}{socket_name(listener)}", 0
    host, port, *_ = listener.getsockname()
    return host, port


def listener_address(listener: socket.socket) -> str:
    """Return the address of *listener* for a message."""
    return address_of(*bound_address(listener))


def startup_lines(settings: Settings, sockets: Sequence[socket.socket]) -> list[str]:
    """Return the log lines of the start: application, plugins, addresses and example requests."""
    table = settings.server
    with_plugins = f" with {', '.join(settings.plugins.names) or 'no plugins'}"
    by_workers = "" if table.workers is None else f" by {table.workers} workers"
    apart = "" if table.management_address is None else _url(listener_address(sockets[-1]), "http")
    pages = [f"health and operators' pages are on {apart}"] if apart else []
    if table.role == "worker":
        return [f"running{with_plugins}{by_workers}; no requests are served", *pages]
    address = _url(listener_address(sockets[0]), "https" if table.tls else "http")
    target = settings.app.target or "the application"
    return [
        f"serving {target}{with_plugins}{by_workers} on {address}{table.root_path if '://' in address else ''}",
        *pages,
        f"try: curl -i {_curl(address, f'{table.root_path}/')}",
        f"try: curl {_curl(apart or address, ('' if apart else table.root_path) + settings.health.path)}",
    ]


def _url(address: str, scheme: str) -> str:
    return address if address.startswith(UNIX) else f"{scheme}://{address}"


def _curl(address: str, path: str) -> str:
    """Return the arguments of curl for *path*."""
    name = socket_path(address)
    if not name:
        return f"{address}{path}"
    option = f"--abstract-unix-socket {name[1:]}" if name.startswith("@") else f"--unix-socket {name}"
    return f"{option} http://localhost{path}"


def log_lines(lines: Sequence[str]) -> None:
    """Log each of *lines*."""
    for line in lines:
        logger.info("%s", line)
