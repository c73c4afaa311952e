"""The Redis session store acknowledges no write that a failover could lose."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.jwt.harness import service
from tests.servers import Redis

pytestmark = [pytest.mark.anyio, pytest.mark.needs("redis")]


@pytest.fixture(scope="module")
def alone() -> Iterator[Redis]:
    with Redis() as server:
        yield server


async def test_issuing_without_a_replica_gets_a_503(alone: Redis) -> None:
    async with service({"session_store": "redis", "redis_url": alone.url}) as client:
        answer = await client.send("/login", "POST", {"subject": "ada"})
        assert answer.status == 503
        assert answer.header("retry-after") == "1"
