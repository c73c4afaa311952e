"""A span for each command, below the current one."""

from __future__ import annotations

import asyncio

import pytest

from scalekit.telemetry import Telemetry
from scalekit_redis import Connections, Redis, RedisUnavailable, ReplyError, Script
from tests.processes import HOST, free_ports
from tests.recorded_spans import recorded_spans

pytestmark = pytest.mark.anyio


async def test_each_command_is_a_span(redis: Redis) -> None:
    with recorded_spans() as spans:
        await redis.set("span", 1)
        await redis.get("span")
        await redis.call(b"incr", "span")
        await redis.mget(["span"])
        await redis.delete("span")
        await redis.run_script(Script("return 1"), ["span"])
        await asyncio.sleep(0)
    assert spans.names() == ["SET", "GET", "INCR", "MGET", "DEL", "EVALSHA"]
    assert spans["SET"].attributes == {"db.system.name": "redis", "db.operation.name": "SET"}
    assert not any(each.error for each in spans.all())
    await redis.get("span")
    assert len(spans.all()) == 6, "none are recorded outside"


async def test_a_pipeline_is_one_span(redis: Redis) -> None:
    with recorded_spans() as spans:
        await redis.pipeline([("GET", "{span}a"), ("GET", "{span}b")])
    assert spans["PIPELINE"].attributes["db.operation.batch.size"] == 2


async def test_errors(redis: Redis) -> None:
    await redis.set("span", "x")
    with recorded_spans() as spans:
        with pytest.raises(ReplyError):
            await redis.call("INCR", "span")
        await asyncio.sleep(0)
    assert spans["INCR"].error.rpartition(".")[2] == "ReplyError"


async def test_a_server_that_is_down() -> None:
    (port,) = free_ports(1)
    async with Connections(Telemetry(100)).open(f"redis://{HOST}:{port}", timeout=0.05) as redis:
        with recorded_spans() as spans:
            with pytest.raises(RedisUnavailable):
                await redis.get("span")
            with pytest.raises(RedisUnavailable):
                await redis.pipeline([("GET", "span")])
            await asyncio.sleep(0)
    errors = {each.name: each.error.rpartition(".")[2] for each in spans.all()}
    assert errors == {"PIPELINE": "RedisUnavailable"}, "a command that is not sent is no span"
