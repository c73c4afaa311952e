from __future__ import annotations

import logging
from collections.abc import AsyncGenerator

import pytest

from scalekit.telemetry import Telemetry
from scalekit_idempotency.keyed_request import KeyedRequest
from scalekit_idempotency.recorded_response import RecordedResponse
from scalekit_idempotency.stores.contract import KeyInUse, Record
from scalekit_idempotency.stores.redis import PREFIX, RedisIdempotencyStore
from scalekit_redis import Connections, Redis, RedisUnavailable
from tests import servers

pytestmark = [pytest.mark.anyio, pytest.mark.needs("redis")]

REQUEST = KeyedRequest("a", "", "POST", "/orders", "fingerprint")
KEY = PREFIX + REQUEST.id
RESPONSE = RecordedResponse(200, ((b"a", b"\xff"),), b"\x00\n\xff")


@pytest.fixture
async def redis(shared_redis: servers.Redis) -> AsyncGenerator[Redis, None]:
    shared_redis.cli("FLUSHALL")
    async with Connections(Telemetry(1000)).open(shared_redis.url) as redis:
        yield redis


async def test_a_record_is_stored_with_its_bytes_and_expires(redis: Redis) -> None:
    store = RedisIdempotencyStore(redis, 60, 30)
    async with store.claim(REQUEST) as claim:
        assert not isinstance(claim, Record)
        await claim.commit(RESPONSE)
    async with store.claim(REQUEST) as found:
        assert found == Record("fingerprint", RESPONSE)
    assert 30_000 < await redis.call("PTTL", KEY) <= 60_000


async def test_a_lease_is_extended_while_the_request_runs(redis: Redis) -> None:
    store = RedisIdempotencyStore(redis, 60, 0.05)
    async with store.claim(REQUEST):
        await redis.call("PEXPIRE", KEY, 60_000)  # which only an extension shortens
        while await redis.call("PTTL", KEY) > 1000:
            pass
        with pytest.raises(KeyInUse):
            async with store.claim(REQUEST):
                pass
    assert await redis.get(KEY) is None


async def test_a_lost_lease_neither_stores_nor_releases(redis: Redis, caplog: pytest.LogCaptureFixture) -> None:
    store = RedisIdempotencyStore(redis, 60, 30)
    async with store.claim(REQUEST) as claim:
        assert not isinstance(claim, Record)
        await redis.set(KEY, b"claimed another")
        with caplog.at_level(logging.WARNING, "scalekit.idempotency"):
            await claim.commit(RESPONSE)
    assert "its lease expired" in caplog.text
    assert await redis.get(KEY) == b"claimed another"


async def test_without_redis_no_key_is_claimed_and_a_response_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    with servers.Redis() as server:
        async with Connections(Telemetry(1000)).open(server.url) as redis:
            store = RedisIdempotencyStore(redis, 60, 30)
            async with store.claim(REQUEST) as claim:
                assert not isinstance(claim, Record)
                server.stop()
                await claim.commit(RESPONSE)
            assert "a response was not stored" in caplog.text
            with pytest.raises(RedisUnavailable):
                async with store.claim(REQUEST):
                    pass
