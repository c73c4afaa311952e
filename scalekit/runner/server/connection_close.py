"""Close connections whose peer does not read, or does not complete the close of TLS."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from collections.abc import Callable, Iterable
from functools import partial
from typing import Protocol

if sys.platform != "win32":
    import fcntl
    import termios

RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""``struct linger``: on, for zero seconds."""
QUEUE = struct.Struct("i")
"""The result of ``ioctl(SIOCOUTQ)``: bytes in the kernel that the peer has not acknowledged."""


class Closing(Protocol):
    """A connection whose transport may be closing."""

    transport: asyncio.Transport


def reset(transport: asyncio.Transport) -> None:
    """Close a connection with RST and discard its unsent data, which the kernel would keep for minutes otherwise."""
    connection = transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    transport.abort()


def unsent_size(transport: asyncio.Transport) -> Callable[[], int]:
    """Return the function that returns how many bytes the peer has not received; 0 when there are none."""
    if transport.get_extra_info("sslcontext") is None:
        return transport.get_write_buffer_size
    return partial(_unsent_tls_size, transport)


def _unsent_tls_size(transport: asyncio.Transport) -> int:
    """Count unencrypted data, and what the kernel holds.

    Between both is the buffer of encrypted data, which is not known. The event loop fills the kernel's buffer from it,
    so this one is never empty while there is more.
    """
    size = transport.get_write_buffer_size()
    if sys.platform == "win32":
        return size  # what the kernel holds is not known
    connection = transport.get_extra_info("socket")
    try:
        (queued,) = QUEUE.unpack(fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(QUEUE.size)))
    except (AttributeError, OSError):  # the socket is closed
        return size
    return size + int(queued)


def abort_flushed(connections: Iterable[Closing]) -> None:
    """End closing TLS connections whose peer has received all data.

    The event loop would wait for the peer's close_notify, which a client with an idle connection does not send, and
    need not send (RFC 8446, section 6.1).
    """
    for each in list(connections):
        if each.transport.is_closing() and not _unsent_tls_size(each.transport):
            each.transport.abort()
