"""Encode the AMQP frames of publish and ack; this costs half of what aiormq's marshalling costs."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from struct import Struct

import pamqp.frame
from pamqp import commands
from pamqp.encode import field_table

from scalekit_queue.envelope import Envelope

_FRAME = Struct(">BHI").pack
_HEADER = Struct(">HHQH").pack
_ACK = Struct(">BHIHHQBB").pack
_METHOD, _CONTENT, _BODY, _END = 1, 2, 3, b"\xce"
_BASIC, _BASIC_ACK = 60, 80
_PROPERTIES = 0x2000 | 0x1000 | 0x0800 | 0x0080 | 0x0040
"""Property flags of headers, delivery-mode, priority, message-id and timestamp; AMQP 0-9-1, section 4.2.6.1."""
_PERSISTENT = b"\x02"
_EMPTY_TABLE = b"\x00\x00\x00\x00"


def publish_frames(channel: int, queue: str, envelope: Envelope, max_frame_body: int) -> bytes:
    """Return the frames that publish *envelope* to *queue*, with at most *max_frame_body* bytes of body in each."""
    body = envelope.body
    headers = field_table(dict(envelope.headers)) if envelope.headers else _EMPTY_TABLE
    identifier = envelope.id.encode()
    timestamp = int(envelope.published).to_bytes(8, "big")
    properties = b"".join((headers, _PERSISTENT, bytes((envelope.priority, len(identifier))), identifier, timestamp))
    content = _HEADER(_BASIC, 0, len(body), _PROPERTIES) + properties
    parts = [_publish_method(channel, queue), _FRAME(_CONTENT, channel, len(content)), content, _END]
    for start in range(0, len(body), max_frame_body):
        part = body[start : start + max_frame_body]
        parts += (_FRAME(_BODY, channel, len(part)), part, _END)
    return b"".join(parts)


def basic_properties(envelope: Envelope) -> commands.Basic.Properties:
    """Return the same properties for aiormq's ``basic_publish``."""
    return commands.Basic.Properties(
        headers=dict(envelope.headers),
        delivery_mode=2,
        priority=envelope.priority,
        message_id=envelope.id,
        timestamp=datetime.fromtimestamp(envelope.published, UTC),
    )


def ack_frame(channel: int, delivery_tag: int) -> bytes:
    """Return the frame that acknowledges *delivery_tag*."""
    return _ACK(_METHOD, channel, 13, _BASIC, _BASIC_ACK, delivery_tag, 0, 206)


@lru_cache(1024)
def _publish_method(channel: int, queue: str) -> bytes:
    return pamqp.frame.marshal(commands.Basic.Publish(exchange="", routing_key=queue, mandatory=True), channel)
