"""The protocol of one connection: packing commands and matching replies, in any segments."""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import Iterator
from itertools import chain, pairwise
from time import monotonic
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from scalekit.telemetry import NullTelemetry
from scalekit_redis.errors import RedisUnavailable, ReplyError
from scalekit_redis.metrics import RedisMetrics
from scalekit_redis.pending import PendingCommand, PendingPipeline, pack
from scalekit_redis.protocol import RedisProtocol

CommandArgs = st.lists(st.one_of(st.text(st.characters(codec="utf-8")), st.binary(), st.integers()), min_size=1)


@given(CommandArgs)
def test_arguments_are_packed_as_bulk_strings(args: list[str | bytes | int]) -> None:
    data = [arg if isinstance(arg, bytes) else str(arg).encode() for arg in args]
    assert list(parse_args(pack(tuple(args)))) == data


def parse_args(packed: bytes) -> Iterator[bytes]:
    """Yield the arguments of a command, parsed as the RESP specification says."""
    head, _, rest = packed.partition(b"\r\n")
    assert head[:1] == b"*"
    for _ in range(int(head[1:])):
        size, _, rest = rest.partition(b"\r\n")
        assert size[:1] == b"$"
        length = int(size[1:])
        yield rest[:length]
        assert rest[length : length + 2] == b"\r\n"
        rest = rest[length + 2 :]
    assert rest == b""


def encoded(value: Any, data: bytes) -> tuple[Any, bytes]:
    return value, data


SCALARS = st.one_of(
    st.binary().map(lambda value: encoded(value, b"$%d\r\n%b\r\n" % (len(value), value))),
    st.integers(-(2**63), 2**63 - 1).map(lambda value: encoded(value, b":%d\r\n" % value)),
    st.booleans().map(lambda value: encoded(value, b"#t\r\n" if value else b"#f\r\n")),
    st.floats(allow_nan=False).map(lambda value: encoded(value, b",%b\r\n" % format_float(value))),
    st.sampled_from([(None, b"_\r\n"), (None, b"$-1\r\n"), (None, b"*-1\r\n"), (b"OK", b"+OK\r\n")]),
)


def format_float(value: float) -> bytes:
    return repr(value).encode() if math.isfinite(value) else b"inf" if value > 0 else b"-inf"


def aggregates(children: st.SearchStrategy[tuple[Any, bytes]]) -> st.SearchStrategy[tuple[Any, bytes]]:
    lists = st.lists(children, max_size=5)
    keys = st.binary(max_size=5)
    return st.one_of(
        lists.map(
            lambda items: encoded([v for v, _ in items], b"*%d\r\n" % len(items) + b"".join(s for _, s in items))
        ),
        lists.map(
            lambda items: encoded([v for v, _ in items], b"~%d\r\n" % len(items) + b"".join(s for _, s in items))
        ),
        st.dictionaries(keys, children, max_size=4).map(
            lambda items: encoded(
                {key: value for key, (value, _) in items.items()},
                b"%%%d\r\n" % len(items)
                + b"".join(b"$%d\r\n%b\r\n%b" % (len(key), key, data) for key, (_, data) in items.items()),
            )
        ),
    )


REPLIES = st.recursive(SCALARS, aggregates, max_leaves=12)
PUSHES = st.binary(max_size=8).map(
    lambda value: b">2\r\n$10\r\ninvalidate\r\n*1\r\n$%d\r\n%b\r\n" % (len(value), value)
)


class ConnectionOwner:
    """Records the callbacks of a connection."""

    def __init__(self) -> None:
        self.lost: list[str] = []
        self.pushes: list[list[Any]] = []

    def on_lost(self, connection: RedisProtocol, reason: str) -> None:
        self.lost.append(reason)
        for command in chain(*connection.take_pending()):
            command.fail(RedisUnavailable(reason, "disconnected"))

    def on_blocked(self, connection: RedisProtocol) -> None:
        pass

    def on_unblocked(self, connection: RedisProtocol) -> None:
        pass

    def on_push(self, push: list[Any]) -> None:
        self.pushes.append(push)


async def exchange(counts: list[int], segments: list[bytes]) -> tuple[list[Any], ConnectionOwner]:
    """Send one pipeline for each of *counts* commands to a peer that sends *segments*; return the replies."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
    owner, now = ConnectionOwner(), monotonic()
    connection = RedisProtocol(transport, owner, RedisMetrics(NullTelemetry(), ""))
    commands = [
        PendingPipeline(loop.create_future(), [pack(("X",))] * count, now, now + 9, False)
        if count > 1
        else PendingCommand(loop.create_future(), pack(("X",)), now, now + 9)
        for count in counts
    ]
    for command in commands:
        connection.send(command)
    with theirs:
        try:
            for segment in segments:
                await loop.sock_sendall(theirs, segment)
                await asyncio.sleep(0)
        except OSError:  # the connection was closed
            pass
        received = await asyncio.gather(*(command.future for command in commands), return_exceptions=True)
        lost = list(owner.lost)
    transport.abort()
    await asyncio.sleep(0)
    owner.lost = lost
    return received, owner


def cut(text: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({place % (len(text) + 1) for place in places} | {0, len(text)})
    return [text[start:end] for start, end in pairwise(ends)]


@settings(max_examples=200)
@given(
    st.lists(st.tuples(st.lists(REPLIES, min_size=1, max_size=4), st.none() | PUSHES), min_size=1, max_size=6),
    st.lists(st.integers(0), max_size=30),
)
def test_every_command_receives_its_own_replies_in_any_segments(
    exchanges: list[tuple[list[tuple[Any, bytes]], bytes | None]], places: list[int]
) -> None:
    text = b"".join((push or b"") + b"".join(data for _, data in replies) for replies, push in exchanges)
    counts = [len(replies) for replies, _ in exchanges]
    received, owner = asyncio.run(exchange(counts, cut(text, places)))
    assert received == [
        [value for value, _ in replies] if len(replies) > 1 else replies[0][0] for replies, _ in exchanges
    ]
    assert len(owner.pushes) == sum(push is not None for _, push in exchanges)
    assert not owner.lost


@given(st.binary(min_size=1), st.lists(st.integers(0), max_size=5))
def test_invalid_data_closes_the_connection_and_no_command_waits_for_ever(garbage: bytes, places: list[int]) -> None:
    ending = b"+OK\r\n:1\r\n"  # more replies than commands
    received, owner = asyncio.run(exchange([1], [*cut(garbage, places), b"\r\n" + ending * 40, b"?garbage\r\n"]))
    assert len(received) == 1
    assert owner.lost


def test_an_error_is_raised_or_is_a_value_of_a_pipeline() -> None:
    data = b"-ERR one\r\n+OK\r\n-OOM two\r\n-WRONGTYPE three\r\n"
    received, _ = asyncio.run(exchange([1, 2, 1], [data]))
    assert isinstance(received[0], ReplyError)
    assert received[0].code == "ERR"
    assert received[1][0] == b"OK"
    assert isinstance(received[1][1], RedisUnavailable)
    assert str(received[2]) == "WRONGTYPE three"


def test_a_surplus_reply_closes_the_connection() -> None:
    received, owner = asyncio.run(exchange([1], [b"+OK\r\n+AGAIN\r\n"]))
    assert received == [b"OK"]
    assert owner.lost == ["the server sent an invalid reply"]
