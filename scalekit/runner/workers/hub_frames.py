"""Frames between a worker and the message hub of its supervisor: a JSON array, a line break and the body.

====================================  ===================================================================
from a worker                         meaning
====================================  ===================================================================
``["configure", id, limits...]``      set the limits of the hub
``["publish", id, channel]``, body    publish a message; the reply is its id
``["join", id, channel]``             receive the messages of a channel; the reply follows once they are
``["history", id, channel]``          the reply is the list of ids and sizes; their bodies are the body
``["leave", channel]``                receive no more messages of a channel
====================================  ===================================================================

====================================  ===================================================================
from the supervisor                   meaning
====================================  ===================================================================
``["reply", id, result]``             the reply to a request
``["message", channel, id]``, body    a new message of a joined channel
``["interrupted"]``                   messages before this frame have been dropped: the worker was too slow
====================================  ===================================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import orjson

from scalekit.message_hub import HubMessage

MAX_HISTORY_SIZE = 32 * 2**20
"""Bytes of the messages in one reply; older ones are left out."""


class HubFrame(NamedTuple):
    """A decoded frame."""

    name: str
    arguments: list[Any]
    body: bytes


def encode_frame(name: str, *arguments: Any, body: bytes = b"") -> bytes:
    """Return the frame *name* with *arguments* and *body*."""
    return orjson.dumps([name, *arguments]) + b"\n" + body


def decode_frame(content: bytes) -> HubFrame:
    """Return the frame of *content*."""
    head, _, body = content.partition(b"\n")
    name, *arguments = orjson.loads(head)
    return HubFrame(name, arguments, body)


def encode_history(request_id: int, messages: Sequence[HubMessage]) -> bytes:
    """Return the reply with *messages*, or with the newest that fit into MAX_HISTORY_SIZE."""
    size, first = 0, len(messages)
    while first and size + len(messages[first - 1].body) <= MAX_HISTORY_SIZE:
        first -= 1
        size += len(messages[first].body)
    sent = messages[first:]
    sizes = [[message.id, len(message.body)] for message in sent]
    return encode_frame("reply", request_id, sizes, body=b"".join([message.body for message in sent]))


def split_history(sizes: Iterable[tuple[str, int]], body: bytes) -> Iterator[HubMessage]:
    """Yield the messages of a reply."""
    start = 0
    for message_id, size in sizes:
        yield HubMessage(message_id, body[start : start + size])
        start += size
