"""Close a listening socket without resetting those who have just connected.

The kernel takes connections before anybody accepts them, and resets those that still wait when the socket is closed. A
client has often sent its request by then. So the kernel is told first to drop whoever knocks, which makes that client
knock again a moment later, and find the door closed; then those who wait are let in; then the door is closed.
"""

from __future__ import annotations

import ctypes
import socket
import struct
import sys
from collections.abc import Sequence

SO_ATTACH_FILTER = 26
TCP_INFO = 11
UNACKED = struct.Struct("24xI")
"""Of ``struct tcp_info``: on a listening socket, how many connections wait to be accepted."""
DROP = struct.pack("HBBI", 0x06, 0, 0, 0)
"""The one instruction of a classic BPF program: return 0, which keeps no byte of a packet."""


def let_nobody_knock(listeners: Sequence[socket.socket]) -> None:
    """Drop what comes for *listeners* from now on, where the kernel can; accepted connections go on."""
    if not sys.platform.startswith("linux"):
        return
    program = ctypes.create_string_buffer(DROP, len(DROP))
    described = struct.pack("HL", 1, ctypes.addressof(program))
    for each in listeners:
        try:
            each.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, described)
        except OSError:  # forbidden here: the risk is that of a few microseconds
            continue


def somebody_waits(listeners: Sequence[socket.socket]) -> bool:
    """Tell whether a connection waits to be accepted; no where the kernel does not say."""
    return sys.platform.startswith("linux") and any(map(_waiting, listeners))


def _waiting(listener: socket.socket) -> int:
    try:
        (count,) = UNACKED.unpack(listener.getsockopt(socket.IPPROTO_TCP, TCP_INFO, UNACKED.size))
    except (OSError, struct.error):
        return 0
    return int(count)
