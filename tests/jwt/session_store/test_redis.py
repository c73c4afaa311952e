"""The Redis session store acknowledges no write that a failover could lose."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from scalekit_jwt.session_store import redis as redis_store
from tests.jwt.harness import service
from tests.jwt.outage import NO_GRACE, clients_of, on_redis, replica_is_online, until
from tests.processes import HOST, wait_for
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


async def test_a_refresh_waits_for_a_replica_and_its_retry_is_not_reuse(
    primary: Redis, replica: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with clients_of(on_redis(primary), "ada") as (ada,):
        monkeypatch.setattr(redis_store, "REPLICA_ACK_TIMEOUT", 0.1)
        rotated_token = ada.refresh_token
        await asyncio.to_thread(replica.pause)
        try:
            for _ in range(3):
                assert (await ada.refresh()).status == 503
        finally:
            await asyncio.to_thread(replica.resume)
        ada.store_tokens(await until(ada.refresh, 200))
        ada.store_tokens(await until(ada.refresh, 200))
        assert (await until(lambda: ada.refresh(rotated_token), 401)).status == 401


async def test_acknowledged_changes_survive_a_failover(primary: Redis, replica: Redis) -> None:
    async with clients_of(on_redis(primary), "ada", "bob") as (ada, bob):
        rotated_token = ada.refresh_token
        ada.store_tokens(await until(ada.refresh, 200))
        await until(lambda: bob.send("/revoke", "POST", {"subject": "bob"}), 200)
        await asyncio.to_thread(primary.kill)
        replica.cli("REPLICAOF", "NO", "ONE")
        replica.cli("CONFIG", "SET", "repl-diskless-sync-delay", "0")
        with Redis("--replicaof", HOST, str(replica.port)):
            await asyncio.to_thread(wait_for, "the next replica", lambda: replica_is_online(replica))
            async with service(NO_GRACE, on_redis(replica).plugins) as client:
                for each, status in ((bob, 401), (ada, 200)):
                    client.token, client.refresh_token, client.cookie = each.token, each.refresh_token, each.cookie
                    assert (await client.api()).status == status
                    await until(client.refresh, status)
                await until(lambda: client.refresh(rotated_token), 401)  # the new primary has the rotation
