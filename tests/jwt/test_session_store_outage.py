"""Outages of the session store: crash, hang, recovery and data loss."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from scalekit.testing import Answer
from scalekit_jwt.jws import parse_jws
from scalekit_jwt.plugin import COMPONENTS
from scalekit_jwt.session_store import database as database_store
from scalekit_jwt.session_store import redis as redis_store
from tests.jwt.dpop_client import DpopClient
from tests.jwt.harness import JwtClient, health, service
from tests.processes import HOST, wait_for
from tests.servers import Postgres, Redis

pytestmark = pytest.mark.anyio
REDIS = pytest.mark.needs("redis")
POSTGRES = pytest.mark.needs("postgres")
NO_GRACE = {"rotation_grace": "0s"}


@dataclass
class SessionStoreServer:
    """A session store server and the configuration that selects it."""

    server: Postgres | Redis
    plugins: Mapping[str, Any]

    async def fail(self, fault: str) -> None:
        await asyncio.to_thread(self.server.kill if fault == "kill" else self.server.pause)

    async def recover(self) -> None:
        await asyncio.to_thread(self.server.resume if self.server.process.poll() is None else self.server.start)


@pytest.fixture(scope="module")
def database() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


@pytest.fixture
def primary() -> Iterator[Redis]:
    with Redis("--repl-diskless-sync-delay", "0") as server:
        yield server


@pytest.fixture
def replica(primary: Redis) -> Iterator[Redis]:
    with Redis("--replicaof", HOST, str(primary.port)) as server:
        wait_for("the replica", lambda: replica_is_online(primary))
        yield server


def replica_is_online(primary: Redis) -> bool:
    return "state=online" in primary.cli("INFO", "replication")


def on_postgres(server: Postgres) -> SessionStoreServer:
    pool = {"url": server.url, "acquire_timeout": "500ms", "connect_timeout": "500ms"}
    return SessionStoreServer(server, {"pool": pool})


def on_redis(server: Redis) -> SessionStoreServer:
    return SessionStoreServer(server, {"jwt": {"session_store": "redis", "redis_url": server.url}})


@pytest.fixture(params=[pytest.param("postgres", marks=POSTGRES), pytest.param("redis", marks=REDIS)])
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> SessionStoreServer:
    monkeypatch.setattr(database_store, "TIMEOUT", 1.0)
    monkeypatch.setattr(redis_store, "TIMEOUT", 1.0)
    if request.param == "postgres":
        return on_postgres(request.getfixturevalue("database"))
    request.getfixturevalue("replica")
    return on_redis(request.getfixturevalue("primary"))


@asynccontextmanager
async def clients_of(store: SessionStoreServer, *names: str, **table: Any) -> AsyncGenerator[list[JwtClient], None]:
    """Yield clients of one service that are logged in as *names*."""
    async with service({**NO_GRACE, **table}, store.plugins) as client:
        clients = [client.another() for _ in names]
        for each, name in zip(clients, names, strict=True):
            await log_in(each, name)
        yield clients


async def log_in(client: JwtClient, name: str) -> None:
    """Log in, retrying while a new replica does not acknowledge in time."""
    client.keep(await until(lambda: client.send("/login", "POST", {"subject": name}), 200))


async def until(request: Callable[[], Awaitable[Answer]], status: int) -> Answer:
    while (response := await request()).status != status:
        assert response.status == 503, response
        await asyncio.sleep(0.02)
    return response


def last_error(client: JwtClient) -> str:
    message: str = client.app.context.get(COMPONENTS).poller.last_error
    return message


@pytest.mark.parametrize("fault", ["kill", "pause"])
async def test_access_tokens_are_verified_and_changes_get_a_503_during_an_outage(
    store: SessionStoreServer, fault: str
) -> None:
    async with clients_of(store, "ada", "bob", "eve", "mallory") as (ada, bob, eve, mallory):
        assert (await ada.api()).status == 200
        await store.fail(fault)
        try:
            tries = [
                ada.refresh(),
                eve.logout(),
                mallory.send("/revoke", "POST", {"subject": "mallory"}),
                ada.another().send("/login", "POST", {"subject": "carol"}),
            ]
            pending = asyncio.gather(*tries)
            verified = await asyncio.gather(*(each.api() for each in (ada, bob) for _ in range(20)))
            assert {response.status for response in verified} == {200}, "from the cache, and by signature"
            responses = await pending
            assert [(each.status, each.header("retry-after")) for each in responses] == [(503, "1")] * 4
            while "revocations cannot be read" not in last_error(ada):
                await asyncio.sleep(0.02)
            assert "revocations cannot be read" in await health(ada)
            assert (await bob.api()).status == 200
        finally:
            await store.recover()
        await until(lambda: ada.another().send("/login", "POST", {"subject": "carol"}), 200)
        while last_error(ada):
            await asyncio.sleep(0.02)
        assert await health(ada) == ""


@pytest.mark.parametrize("store", [pytest.param("postgres", marks=POSTGRES)], indirect=True)
@pytest.mark.parametrize("fault", ["kill", "pause"])
async def test_a_refresh_retried_after_a_503_is_not_reuse_even_much_later(
    store: SessionStoreServer, fault: str
) -> None:
    async with clients_of(store, "ada") as (ada,):
        rotated_token = ada.refresh_token
        await store.fail(fault)
        try:
            assert (await ada.refresh()).status == 503  # the rotation may still be executed
        finally:
            await store.recover()
        ada.keep(await until(ada.refresh, 200))
        assert (await ada.api()).status == 200
        ada.keep(await ada.refresh())
        assert (await ada.refresh(rotated_token)).status == 401, "after the delivery it is reuse"
        assert (await ada.refresh()).status == 401


async def test_revocations_of_other_processes_are_loaded_after_an_outage(store: SessionStoreServer) -> None:
    async with (
        clients_of(store, "ada", poll_interval="100ms") as (ada,),
        clients_of(store, "bob") as (bob,),
    ):
        assert (await ada.api()).status == 200
        await store.fail("pause")
        try:
            while not last_error(ada):
                await asyncio.sleep(0.02)
        finally:
            await store.recover()
        assert (await until(lambda: bob.send("/revoke", "POST", {"subject": "ada"}), 200)).status == 200
        while (response := await ada.api()).status != 401:
            assert response.status == 200
            await asyncio.sleep(0.02)
        await until(ada.refresh, 401)


async def test_bound_tokens_get_a_503_during_an_outage(store: SessionStoreServer) -> None:
    async with service({"sender_constraint": "dpop"}, store.plugins) as client:
        holder = DpopClient(client)
        await until(lambda: holder.login("ada"), 200)
        assert (await holder.api()).status == 200
        await store.fail("pause")
        try:
            assert (await holder.api()).status == 503
        finally:
            await store.recover()
        await until(holder.api, 200)


async def test_the_service_starts_during_an_outage_and_refuses_tokens_until_revocations_are_loaded(
    store: SessionStoreServer,
) -> None:
    if isinstance(store.server, Postgres):
        store.server.sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    async with clients_of(store, "ada") as (ada,):
        pass
    await store.fail("pause")
    try:
        async with service(NO_GRACE, store.plugins) as client:
            client.token, client.cookie = ada.token, ada.cookie
            assert "revocations cannot be read" in last_error(client)
            assert (await client.send("/open")).status == 200
            assert (await client.send("/api/who")).status == 401
            assert (await client.send("/login", "POST", {"subject": "ada"})).status == 503
            response = await client.api()
            assert (response.status, response.header("retry-after")) == (503, "1")
            await store.recover()
            await until(client.api, 200)
            await until(lambda: client.send("/login", "POST", {"subject": "ada"}), 200)
    finally:
        await store.recover()


@POSTGRES
async def test_the_tables_are_created_when_the_database_becomes_available(
    database: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_store, "TIMEOUT", 1.0)
    database.sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    store = on_postgres(database)
    await store.fail("kill")
    try:
        async with service(plugins=store.plugins) as client:
            await store.recover()
            await log_in(client, "ada")
            await until(client.api, 200)
    finally:
        await store.recover()


@POSTGRES
async def test_a_database_that_refuses_the_tables_fails_the_start(database: Postgres) -> None:
    database.sql("DROP SCHEMA public CASCADE")
    try:
        with pytest.raises(Exception, match="schema"):
            async with service(plugins=on_postgres(database).plugins):
                pass
    finally:
        database.sql("CREATE SCHEMA public")


@POSTGRES
async def test_a_retry_of_a_committed_refresh_without_a_response_is_not_reuse(
    database: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_store, "TIMEOUT", 1.0)
    async with clients_of(on_postgres(database), "ada") as (ada,):
        # Commits wait for a replica that does not exist.
        await asyncio.to_thread(wait_for_replicas, database, "missing")
        try:
            while (response := await ada.refresh()).status == 200:
                ada.keep(response)
            assert response.status == 503
            family = parse_jws(ada.refresh_token.encode()).claims
            where = f"family = '{family['sid']}' AND previous = '{family['jti']}'"
            count = f"SELECT count(*) FROM scalekit_jwt_sessions WHERE {where}"
            await asyncio.to_thread(wait_for, "the committed rotation", lambda: database.sql(count) == "1")
        finally:
            await asyncio.to_thread(wait_for_replicas, database, "")
        rotated_token = ada.refresh_token
        ada.keep(await until(ada.refresh, 200))
        ada.keep(await ada.refresh())
        assert (await ada.refresh(rotated_token)).status == 401


def wait_for_replicas(server: Postgres, name: str) -> None:
    server.sql(f"ALTER SYSTEM SET synchronous_standby_names = '{name}'")
    server.sql("SELECT pg_reload_conf()")


@REDIS
async def test_a_refresh_waits_for_a_replica_and_its_retry_is_not_reuse(
    primary: Redis, replica: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with clients_of(on_redis(primary), "ada") as (ada,):
        monkeypatch.setattr(redis_store, "REPLICA_ACK_TIMEOUT_MS", 100)
        rotated_token = ada.refresh_token
        await asyncio.to_thread(replica.pause)
        try:
            for _ in range(3):
                assert (await ada.refresh()).status == 503
        finally:
            await asyncio.to_thread(replica.resume)
        ada.keep(await until(ada.refresh, 200))
        ada.keep(await until(ada.refresh, 200))
        assert (await until(lambda: ada.refresh(rotated_token), 401)).status == 401


@REDIS
async def test_acknowledged_changes_survive_a_failover(primary: Redis, replica: Redis) -> None:
    async with clients_of(on_redis(primary), "ada", "bob") as (ada, bob):
        rotated_token = ada.refresh_token
        ada.keep(await until(ada.refresh, 200))
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


async def test_revocations_are_loaded_after_the_store_lost_its_data(store: SessionStoreServer) -> None:
    async with clients_of(store, "ada") as (ada,):
        assert (await ada.api()).status == 200
        tokens = ada.app.context.get(COMPONENTS).tokens
        tokens._revocations.last_number = 1_000_000  # higher than any number of the store
        await until(lambda: ada.send("/revoke", "POST", {"subject": "ada"}), 200)
        while (await ada.api()).status == 200:
            await asyncio.sleep(0.02)
        now = time.time()
        assert await tokens._store.revocations(2_000_000, now)
