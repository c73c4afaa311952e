"""Each reply reaches its own caller: 100,000 commands, cancelled at random, over lost connections."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from scalekit_redis import Connections, Redis, RedisUnavailable
from tests.lib.redis.conftest import BOTH_LOOPS
from tests.lib.redis.poll import until
from tests.lib.redis.proxy import Proxy, open_proxy
from tests.servers import Redis as Server

pytestmark = [pytest.mark.anyio, BOTH_LOOPS]

COMMANDS = 100_000
CALLERS = 100


async def send_one(redis: Redis, rng: random.Random, number: int) -> None:
    """Send a random command and check that the reply contains its own word."""
    word = f"word-{number}".encode()
    stored = None if number % 2 else word
    kind = rng.randrange(5)
    if kind == 0:
        assert await redis.call("ECHO", word) == word
    elif kind == 1:
        assert await redis.get(b"key:" + word) == stored
    elif kind == 2:
        replies = await redis.pipeline([("ECHO", word), ("ECHO", word * 2)])
        assert replies[0] == word
        assert replies[1] == word * 2 or isinstance(
            replies[1], RedisUnavailable
        )  # the connection was cut between the two
    elif kind == 3:
        replies = await redis.pipeline([("GET", b"none:" + word), ("GET", b"key:" + word)])
        assert replies[0] is None
        assert replies[1] == stored or isinstance(replies[1], RedisUnavailable)
    else:
        assert await redis.mget([b"none:" + word, b"key:" + word]) == [None, stored]


async def call(redis: Redis, numbers: range, outcomes: Counter[str]) -> None:
    rng = random.Random(numbers.start)
    for number in numbers:
        command = asyncio.ensure_future(send_one(redis, rng, number))
        pause = rng.choice((None, None, 0, 0.0005, 0.002))
        if pause is not None:
            await asyncio.sleep(pause)
            command.cancel()
        try:
            await command
            outcomes["replied"] += 1
        except asyncio.CancelledError:
            outcomes["cancelled"] += 1
        except RedisUnavailable as error:
            outcomes[error.kind] += 1
            await asyncio.sleep(0.005)


async def _until_more(outcomes: Counter[str], more: int) -> None:
    enough = outcomes.total() + more
    await until("more commands", lambda: outcomes.total() >= enough)


async def disturb(proxy: Proxy, outcomes: Counter[str]) -> None:
    rng = random.Random(1)
    while True:
        await _until_more(outcomes, rng.randrange(500, 2000))
        outcomes["cut"] += 1
        proxy.cut()
        proxy.pieces = rng.choice((0, 0, 3, 1000))
        proxy.delay = rng.choice((0, 0, 0.001))


@pytest.mark.needs("redis")
async def test_no_reply_reaches_another_caller(connections: Connections) -> None:
    outcomes: Counter[str] = Counter()
    with Server() as server:
        server.cli("EVAL", f"for n = 0, {COMMANDS - 1}, 2 do redis.call('SET', 'key:word-'..n, 'word-'..n) end", 0)
        async with open_proxy(server.port) as proxy, connections.open(proxy.url, timeout=1) as redis:
            disturbing = asyncio.create_task(disturb(proxy, outcomes))
            share = COMMANDS // CALLERS
            callers = [range(first, first + share) for first in range(0, COMMANDS, share)]
            await asyncio.gather(*(call(redis, numbers, outcomes) for numbers in callers))
            disturbing.cancel()
            await asyncio.wait([disturbing])
            assert proxy.accepted > 40
    assert outcomes["replied"] > COMMANDS / 4
    assert outcomes["cancelled"] > COMMANDS / 10
    assert outcomes["disconnected"] > 100
    assert outcomes["cut"] > 40
