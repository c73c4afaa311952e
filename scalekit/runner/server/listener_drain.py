"""Close a listening socket without resetting connections in its accept queue.

The kernel completes handshakes before the process accepts, and resets the connections that are still in the accept
queue when the socket closes. Clients have often sent a request by then. So a socket filter first drops new SYN packets
(RFC 9293): such a client retransmits a moment later and is refused. Then the queue is accepted, then the socket closes.
Other packets pass: a client whose handshake has started may consider itself connected.
"""

from __future__ import annotations

import select
import socket
import struct
import sys
from collections.abc import Sequence

from scalekit.runner.server.unix_listener import is_unix

SO_ATTACH_FILTER = 26
TCP_INFO = 11
UNACKED = struct.Struct("24xI")
"""Field of ``struct tcp_info``: on a listening socket, the length of the accept queue."""
NO_SYN = b"".join(
    struct.pack("HBBI", *instruction)
    for instruction in (
        (0x30, 0, 0, 13),  # load the byte with the TCP flags
        (0x45, 0, 1, 0x02),  # if SYN is set continue, else skip one instruction
        (0x06, 0, 0, 0),  # drop the packet
        (0x06, 0, 0, 0xFFFFFFFF),  # pass the packet
    )
)
"""A classic BPF program of four instructions, each of eight bytes."""


def drop_new_syns(listeners: Sequence[socket.socket]) -> None:
    """Drop new SYN packets to the TCP *listeners*, on Linux; established connections are not affected."""
    if not sys.platform.startswith("linux"):
        return
    import ctypes  # slow to import, and only needed at shutdown

    program = ctypes.create_string_buffer(NO_SYN, len(NO_SYN))
    program_descriptor = struct.pack("HL", len(NO_SYN) // 8, ctypes.addressof(program))
    for each in listeners:
        if is_unix(each):
            continue
        try:
            each.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program_descriptor)
        except OSError:  # not permitted: a client can be reset within a few microseconds
            continue


def has_pending_connections(listeners: Sequence[socket.socket]) -> bool:
    """Return whether an accept queue has a connection; False when the kernel does not report it."""
    return sys.platform.startswith("linux") and any(map(_queue_length, listeners))


def _queue_length(listener: socket.socket) -> int:
    if is_unix(listener):  # the kernel only tells whether there is a connection
        poll = select.poll()
        poll.register(listener, select.POLLIN)
        return len(poll.poll(0))
    try:
        (count,) = UNACKED.unpack(listener.getsockopt(socket.IPPROTO_TCP, TCP_INFO, UNACKED.size))
    except (OSError, struct.error):
        return 0
    return int(count)
