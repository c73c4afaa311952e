"""Close a listening socket without resetting those who have just connected.

The kernel takes connections before anybody accepts them, and resets those that still wait when the socket is closed. A
client has often sent its request by then. So the kernel is told first to drop whoever knocks, which makes that client
knock again a moment later, and find the door closed; then those who wait are let in; then the door is closed. Only the
first packet of a connection (SYN, RFC 9293) is dropped: a client whose handshake has begun may believe it connected.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Sequence

SO_ATTACH_FILTER = 26
TCP_INFO = 11
UNACKED = struct.Struct("24xI")
"""Of ``struct tcp_info``: on a listening socket, how many connections wait to be accepted."""
NO_SYN = b"".join(
    struct.pack("HBBI", *instruction)
    for instruction in (
        (0x30, 0, 0, 13),  # load the byte of the TCP header that has the flags
        (0x45, 0, 1, 0x02),  # go on if SYN is set, else skip one
        (0x06, 0, 0, 0),  # keep no byte of the packet
        (0x06, 0, 0, 0xFFFFFFFF),  # keep all
    )
)
"""A classic BPF program of four instructions, each of eight bytes."""


def drop_new_syns(listeners: Sequence[socket.socket]) -> None:
    """Drop what comes for *listeners* from now on, where the kernel can; accepted connections go on."""
    if not sys.platform.startswith("linux"):
        return
    import ctypes  # takes its time, and most of a process's life does without

    program = ctypes.create_string_buffer(NO_SYN, len(NO_SYN))
    described = struct.pack("HL", len(NO_SYN) // 8, ctypes.addressof(program))
    for each in listeners:
        try:
            each.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, described)
        except OSError:  # forbidden here: the risk is that of a few microseconds
            continue


def has_pending_connections(listeners: Sequence[socket.socket]) -> bool:
    """Tell whether a connection waits to be accepted; no where the kernel does not say."""
    return sys.platform.startswith("linux") and any(map(_waiting, listeners))


def _waiting(listener: socket.socket) -> int:
    try:
        (count,) = UNACKED.unpack(listener.getsockopt(socket.IPPROTO_TCP, TCP_INFO, UNACKED.size))
    except (OSError, struct.error):
        return 0
    return int(count)
