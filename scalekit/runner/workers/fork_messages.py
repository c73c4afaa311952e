"""Messages between the supervisor and a fork server, one datagram each, which can carry file descriptors."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from enum import Enum
from typing import Any, NamedTuple

import orjson

MAX_MESSAGE_SIZE = 65_536
"""Bytes of a message."""
MAX_DESCRIPTORS = 2


class ForkKind(Enum):
    """The kinds of message; the supervisor sends FORK, the fork server the others."""

    READY = b"r"
    FORK = b"f"
    FORKED = b"p"
    FAILED = b"x"
    ENDED = b"e"


class ForkMessage(NamedTuple):
    """One message and the descriptors that it carried."""

    kind: ForkKind
    value: Any
    descriptors: list[int]


def pair() -> tuple[socket.socket, socket.socket]:
    """Return the two ends of a socket pair that preserves message boundaries."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(end: socket.socket, kind: ForkKind, value: Any = None, descriptors: Sequence[int] = ()) -> None:
    """Send a message; raises OSError when the other side has closed or its buffer is full."""
    socket.send_fds(end, [kind.value + orjson.dumps(value)], list(descriptors), socket.MSG_NOSIGNAL)


def receive(end: socket.socket) -> ForkMessage | None:
    """Return the next message, or None when the other side has closed; raises BlockingIOError when none is pending."""
    try:
        content, descriptors, _, _ = socket.recv_fds(end, MAX_MESSAGE_SIZE, MAX_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
    except ConnectionError:
        return None
    return ForkMessage(ForkKind(content[:1]), orjson.loads(content[1:]), descriptors) if content else None
