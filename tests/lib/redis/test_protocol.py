"""Whatever is said on a wire comes apart as it was put together, in any pieces."""

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
def test_words_arrive_as_they_were_said(words: list[str | bytes | int]) -> None:
    said = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    assert list(words_in(pack(tuple(words)))) == said


def words_in(packed: bytes) -> Iterator[bytes]:
    """Read a command as the specification says."""
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


def simple(value: Any, said: bytes) -> tuple[Any, bytes]:
    return value, said


SCALARS = st.one_of(
    st.binary().map(lambda value: simple(value, b"$%d\r\n%b\r\n" % (len(value), value))),
    st.integers(-(2**63), 2**63 - 1).map(lambda value: simple(value, b":%d\r\n" % value)),
    st.booleans().map(lambda value: simple(value, b"#t\r\n" if value else b"#f\r\n")),
    st.floats(allow_nan=False).map(lambda value: simple(value, b",%b\r\n" % spelled(value))),
    st.sampled_from([(None, b"_\r\n"), (None, b"$-1\r\n"), (None, b"*-1\r\n"), (b"OK", b"+OK\r\n")]),
)


def spelled(value: float) -> bytes:
    return repr(value).encode() if math.isfinite(value) else b"inf" if value > 0 else b"-inf"


def aggregates(children: st.SearchStrategy[tuple[Any, bytes]]) -> st.SearchStrategy[tuple[Any, bytes]]:
    lists = st.lists(children, max_size=5)
    keys = st.binary(max_size=5)
    return st.one_of(
        lists.map(lambda items: simple([v for v, _ in items], b"*%d\r\n" % len(items) + b"".join(s for _, s in items))),
        lists.map(lambda items: simple([v for v, _ in items], b"~%d\r\n" % len(items) + b"".join(s for _, s in items))),
        st.dictionaries(keys, children, max_size=4).map(
            lambda items: simple(
                {key: value for key, (value, _) in items.items()},
                b"%%%d\r\n" % len(items)
                + b"".join(b"$%d\r\n%b\r\n%b" % (len(key), key, said) for key, (_, said) in items.items()),
            )
        ),
    )


REPLIES = st.recursive(SCALARS, aggregates, max_leaves=12)
PUSHES = st.binary(max_size=8).map(
    lambda value: b">2\r\n$10\r\ninvalidate\r\n*1\r\n$%d\r\n%b\r\n" % (len(value), value)
)


class ConnectionOwner:
    """Keeps what a wire tells."""

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
    """Put a call for each of *counts* of commands on a wire whose other end says *segments*; return what each got."""
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
        except OSError:  # the wire was closed
            pass
        got = await asyncio.gather(*(command.future for command in commands), return_exceptions=True)
        lost = list(owner.lost)
    transport.abort()
    await asyncio.sleep(0)
    owner.lost = lost
    return got, owner


def cut(text: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({place % (len(text) + 1) for place in places} | {0, len(text)})
    return [text[start:end] for start, end in pairwise(ends)]


@settings(max_examples=200)
@given(
    st.lists(st.tuples(st.lists(REPLIES, min_size=1, max_size=4), st.none() | PUSHES), min_size=1, max_size=6),
    st.lists(st.integers(0), max_size=30),
)
def test_every_call_gets_its_own_replies_in_whatever_pieces_they_come(
    conversation: list[tuple[list[tuple[Any, bytes]], bytes | None]], places: list[int]
) -> None:
    text = b"".join((push or b"") + b"".join(said for _, said in replies) for replies, push in conversation)
    counts = [len(replies) for replies, _ in conversation]
    got, owner = asyncio.run(exchange(counts, cut(text, places)))
    assert got == [
        [value for value, _ in replies] if len(replies) > 1 else replies[0][0] for replies, _ in conversation
    ]
    assert len(owner.pushes) == sum(push is not None for _, push in conversation)
    assert not owner.lost


@given(st.binary(min_size=1), st.lists(st.integers(0), max_size=5))
def test_whatever_else_is_said_nobody_waits_for_ever(noise: bytes, places: list[int]) -> None:
    ending = b"+OK\r\n:1\r\n"  # more replies than there are calls
    got, owner = asyncio.run(exchange([1], [*cut(noise, places), b"\r\n" + ending * 40, b"?garbage\r\n"]))
    assert len(got) == 1
    assert owner.lost


def test_an_error_is_raised_or_is_a_value_of_a_batch() -> None:
    said = b"-ERR one\r\n+OK\r\n-OOM two\r\n-WRONGTYPE three\r\n"
    got, _ = asyncio.run(exchange([1, 2, 1], [said]))
    assert isinstance(got[0], ReplyError)
    assert got[0].code == "ERR"
    assert got[1][0] == b"OK"
    assert isinstance(got[1][1], RedisUnavailable)
    assert str(got[2]) == "WRONGTYPE three"


def test_a_reply_too_many_ends_the_connection() -> None:
    got, owner = asyncio.run(exchange([1], [b"+OK\r\n+AGAIN\r\n"]))
    assert got == [b"OK"]
    assert owner.lost == ["the server sent an invalid reply"]
