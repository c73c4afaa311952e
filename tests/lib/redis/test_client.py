"""The commands of the client, on Redis and on Valkey."""

from __future__ import annotations

import asyncio

import pytest

from scalekit_redis import Connections, Redis, RedisUnavailable, ReplyError, Script
from tests.lib.redis.conftest import ALSO_SENTINEL
from tests.lib.redis.proxy import open_proxy
from tests.servers import Redis as Server

pytestmark = [pytest.mark.anyio, ALSO_SENTINEL]


async def test_get_returns_bytes_or_none(redis: Redis) -> None:
    assert await redis.set("key", "värde") is True
    assert await redis.get("key") == "värde".encode()
    assert await redis.get(b"key") == "värde".encode()
    assert await redis.get("none") is None


async def test_a_value_may_contain_any_bytes_and_be_large(redis: Redis) -> None:
    value = bytes(range(256)) * 20_000
    await redis.set("large", value, timeout=5)
    assert await redis.get("large", timeout=5) == value


async def test_mget_returns_values_in_the_order_of_the_keys(redis: Redis) -> None:
    await redis.set("one", 1)
    await redis.set("two", 2.5)
    assert await redis.mget(["two", "none", "one", "two"]) == [b"2.5", None, b"1", b"2.5"]
    assert await redis.mget([]) == []


async def test_only_if_absent_does_not_overwrite(redis: Redis) -> None:
    assert await redis.set("lock", "mine", ttl=10, only_if_absent=True) is True
    assert await redis.set("lock", "yours", ttl=10, only_if_absent=True) is False
    assert await redis.get("lock") == b"mine"


async def test_a_ttl_is_in_seconds_with_millisecond_precision(redis: Redis) -> None:
    await redis.set("short", "x", ttl=99.5)
    assert 99_000 < await redis.call("PTTL", "short") <= 99_500
    assert await redis.expire("short", 0.0001) is True
    assert await redis.expire("none", 10) is False
    assert await redis.call("PTTL", "short") in (0, 1, -2)


@pytest.mark.parametrize("ttl", [0, -1, float("nan"), float("inf")])
async def test_an_invalid_ttl_is_rejected(redis: Redis, ttl: float) -> None:
    with pytest.raises(ValueError, match="greater than zero"):
        await redis.set("key", "x", ttl=ttl)


async def test_delete_returns_how_many_keys_existed(redis: Redis) -> None:
    await redis.set("one", 1)
    await redis.set("two", 2)
    assert await redis.delete("one", "two", "three") == 2
    assert await redis.delete() == 0


async def test_call_sends_any_command_and_an_error_reply_has_its_code(redis: Redis) -> None:
    assert await redis.call("LPUSH", "list", "a", "b") == 2
    assert await redis.call("HSET", "map", "field", "value") == 1
    assert await redis.call("HGETALL", "map") == {b"field": b"value"}
    with pytest.raises(ReplyError, match="WRONGTYPE") as caught:
        await redis.get("list")
    assert caught.value.code == "WRONGTYPE"


@pytest.mark.parametrize(
    "args",
    [
        ("SUBSCRIBE", "channel"),
        ("multi",),
        (b"select", 1),
        ("CLIENT", "reply", "off"),
        ("BLPOP", "list", 0),
        ("XREAD", "block", 0, "STREAMS", "stream", "$"),
        ("",),
        (),
    ],
)
async def test_commands_that_change_or_block_the_shared_connection_are_rejected(
    redis: Redis, args: tuple[str, ...]
) -> None:
    with pytest.raises(ValueError, match=r"the shared connection|the command has no name"):
        await redis.call(*args)
    assert await redis.call("PING") == b"PONG"


@pytest.mark.parametrize("arg", [None, True, [1]])
async def test_an_argument_of_a_wrong_type_is_named_without_its_value(redis: Redis, arg: object) -> None:
    with pytest.raises(TypeError, match=f"argument 2 of 'SET' is a {type(arg).__name__}; pass str"):
        await redis.set("key", arg)  # type: ignore[arg-type]  # the test of this error
    assert await redis.get("key") is None


async def test_a_pipeline_returns_one_reply_per_command_and_errors_as_values(redis: Redis) -> None:
    await redis.set("text", "x")
    replies = await redis.pipeline([("GET", "text"), ("INCR", "text"), ("INCR", "number"), ("GET", "none")])
    assert replies[0] == b"x"
    assert isinstance(replies[1], ReplyError)
    assert replies[2:] == [1, None]
    assert await redis.pipeline([]) == []


async def test_commands_of_one_turn_of_the_event_loop_are_one_write(server: Server, connections: Connections) -> None:
    async with open_proxy(server.port) as proxy, connections.open(proxy.url) as redis:
        await redis.get("key")
        before = proxy.segments
        await asyncio.gather(*(redis.get(f"key:{number}") for number in range(100)))
        assert proxy.segments == before + 1
        await redis.pipeline([("GET", f"key:{number}") for number in range(100)])
        assert proxy.segments == before + 2


async def test_the_source_of_a_script_is_sent_only_to_a_server_that_lacks_it(redis: Redis) -> None:
    await redis.call("CONFIG", "RESETSTAT")
    script = Script("return {KEYS[1], ARGV[1], redis.call('INCR', KEYS[1])}")
    for expected in (1, 2):
        assert await redis.run_script(script, ["counter"], ["x"]) == [b"counter", b"x", expected]
    statistics = (await redis.call("INFO", "commandstats")).decode()
    assert "cmdstat_eval:calls=1," in statistics
    await redis.call("SCRIPT", "FLUSH")
    assert await redis.run_script(script, ["counter"], ["x"]) == [b"counter", b"x", 3]


async def test_a_prepared_script_runs_for_any_key_with_its_arguments(redis: Redis) -> None:
    prepared = redis.prepare(Script("return {KEYS[1], #KEYS, ARGV[1], ARGV[2], #ARGV}"), ("x", 12))
    for key in ("k", "a longer key with a line\r\nand é", ""):
        assert await prepared.run(key) == [key.encode(), 1, b"x", b"12", 2]
        assert await prepared.run(key) == [key.encode(), 1, b"x", b"12", 2]
        await redis.call("SCRIPT", "FLUSH")


async def test_a_failed_script_raises_its_error(redis: Redis) -> None:
    with pytest.raises(ReplyError, match="no such luck"):
        await redis.run_script(Script("return redis.error_reply('ERR no such luck')"))


async def test_a_server_out_of_memory_is_unavailable(redis: Redis) -> None:
    await redis.call("CONFIG", "SET", "maxmemory", 1)
    try:
        with pytest.raises(RedisUnavailable, match="OOM") as caught:
            await redis.set("key", "value")
    finally:
        await redis.call("CONFIG", "SET", "maxmemory", "64mb")
    assert caught.value.kind == "refused"


async def test_probe_returns_while_the_server_replies(redis: Redis) -> None:
    await redis.probe()
