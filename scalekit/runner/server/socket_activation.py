"""Sockets that the service manager has opened: systemd's socket activation (sd_listen_fds_with_names(3))."""

from __future__ import annotations

import os
import socket

from scalekit.errors import StartError

FIRST_DESCRIPTOR = 3
MAX_DIGITS = 6
"""Digits of a number of descriptors; a longer one is none, and Python does not convert thousands of digits."""
WEB = "web"
"""The socket for requests: the one with another name."""
MANAGEMENT = "management"
"""The name (``FileDescriptorName=``) of the socket for `management_address`."""
VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")


def activated_sockets() -> dict[str, socket.socket]:
    """Return the passed sockets: the public one as ``web``, and ``management``; empty when none are for this process.

    The variables are removed, so that child processes do not use them. Raises StartError when a descriptor is not a
    listening socket, or several have one purpose.
    """
    pid, count, names = (os.environ.pop(name, "") for name in VARIABLES)
    if pid != str(os.getpid()) or not count.isdecimal() or len(count) > MAX_DIGITS:
        return {}
    found: dict[str, socket.socket] = {}
    given = names.split(":")
    for number in range(int(count)):
        name = MANAGEMENT if given[number : number + 1] == [MANAGEMENT] else WEB
        if name in found:
            raise StartError(
                f"the service manager passed {count} sockets, more than one of them for {name}; "
                "write one ListenStream=, and FileDescriptorName=management for that of management_address"
            )
        found[name] = _listening_socket(FIRST_DESCRIPTOR + number)
    return found


def _listening_socket(descriptor: int) -> socket.socket:
    try:
        passed = socket.socket(fileno=descriptor)
        listens = passed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise StartError(f"descriptor {descriptor} of the service manager is not a socket: {error}") from None
    if passed.type != socket.SOCK_STREAM or not listens:
        passed.close()
        raise StartError(
            f"descriptor {descriptor} of the service manager does not listen for connections; write ListenStream="
        )
    passed.set_inheritable(False)
    return passed
