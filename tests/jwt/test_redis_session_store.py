"""The Redis session store acknowledges no write that a failover could lose."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.jwt.harness import service
from tests.servers import Redis

pytestmark = [pytest.mark.anyio, pytest.mark.needs("redis")]


@pytest.fixture(scope="module")
def primary_without_replica() -> Iterator[Redis]:
    with Redis() as server:
        yield server


async def test_issuing_without_a_replica_gets_a_503(primary_without_replica: Redis) -> None:
    async with service({"session_store": "redis", "redis_url": primary_without_replica.url}) as client:
        response = await client.send("/login", "POST", {"subject": "ada"})
        assert response.status == 503
        assert response.header("retry-after") == "1"
