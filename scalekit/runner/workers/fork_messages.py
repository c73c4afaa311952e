"""Messages between the supervisor and a fork server, with descriptors: one datagram each, over a pair of sockets."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from enum import Enum
from typing import Any, NamedTuple

import orjson

LARGEST = 65_536
"""Bytes of a message."""
MOST_DESCRIPTORS = 2


class ForkKind(Enum):
    """What a message is about; FORK alone comes from the supervisor."""

    READY = b"r"
    FORK = b"f"
    FORKED = b"p"
    FAILED = b"x"
    ENDED = b"e"


class ForkMessage(NamedTuple):
    """One message, and the descriptors that came with it."""

    kind: ForkKind
    value: Any
    descriptors: list[int]


def pair() -> tuple[socket.socket, socket.socket]:
    """Return the two ends."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(end: socket.socket, kind: ForkKind, value: Any = None, descriptors: Sequence[int] = ()) -> None:
    """Send a message; raises OSError when the other side has gone or takes nothing."""
    socket.send_fds(end, [kind.value + orjson.dumps(value)], list(descriptors), socket.MSG_NOSIGNAL)


def receive(end: socket.socket) -> ForkMessage | None:
    """Return the next message, or None when the other side sends no more; raises BlockingIOError when none is there."""
    try:
        content, descriptors, _, _ = socket.recv_fds(end, LARGEST, MOST_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
    except ConnectionError:
        return None
    return ForkMessage(ForkKind(content[:1]), orjson.loads(content[1:]), descriptors) if content else None
