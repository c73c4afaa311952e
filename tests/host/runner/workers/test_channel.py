from __future__ import annotations

import asyncio
import socket
import struct

import pytest

from scalekit.runner.workers.channel import MAX_MESSAGE_SIZE, Channel, ChannelMessage, MessageKind

pytestmark = pytest.mark.anyio


async def pair() -> tuple[Channel, Channel]:
    ours, theirs = socket.socketpair()
    return await Channel.open(ours), await Channel.open(theirs)


async def received(channel: Channel) -> list[ChannelMessage]:
    return [message async for message in channel.messages()]


async def test_messages_arrive_complete_and_in_order() -> None:
    ours, theirs = await pair()
    sent = [(MessageKind.READY, b""), (MessageKind.METRICS, b"x" * 1_000_000), (MessageKind.HEARTBEAT, b"")]
    for kind, content in sent:
        ours.send(kind, content)
    _, arrived = await asyncio.gather(ours.close(), received(theirs))
    assert arrived == sent
    await theirs.close()


async def test_a_closed_peer_ends_the_messages_and_receives_none() -> None:
    ours, theirs = await pair()
    await theirs.close()
    assert await received(ours) == []
    await ours.close()
    ours.send(MessageKind.HEARTBEAT)


async def test_an_incomplete_oversized_or_unknown_message_ends_the_messages() -> None:
    for raw in (
        b"a\0\0",
        struct.pack("!cI", b"n", 10) + b"short",
        struct.pack("!cI", b"n", MAX_MESSAGE_SIZE + 1),
        b"?\0\0\0\0",
    ):
        raw_end, theirs = socket.socketpair()
        channel = await Channel.open(theirs)
        raw_end.sendall(raw)
        raw_end.close()
        assert await received(channel) == []
        await channel.close()


async def test_closing_does_not_wait_for_a_peer_that_does_not_read() -> None:
    ours, theirs = await pair()
    assert ours.backlog == 0
    ours.send(MessageKind.METRICS, b"x" * 10_000_000)
    assert ours.backlog > 0
    await ours.close()
    await theirs.close()
