"""What remembers sessions dies, hangs, comes back, or has lost what it knew."""

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
class Store:
    """A server that remembers sessions, and what makes a service use it."""

    server: Postgres | Redis
    plugins: Mapping[str, Any]

    async def fail(self, how: str) -> None:
        await asyncio.to_thread(self.server.kill if how == "kill" else self.server.pause)

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
        wait_for("the replica", lambda: in_step(primary))
        yield server


def in_step(primary: Redis) -> bool:
    return "state=online" in primary.cli("INFO", "replication")


def on_postgres(server: Postgres) -> Store:
    pool = {"url": server.url, "acquire_timeout": "500ms", "connect_timeout": "500ms"}
    return Store(server, {"pool": pool})


def on_redis(server: Redis) -> Store:
    return Store(server, {"jwt": {"session_store": "redis", "redis_url": server.url}})


@pytest.fixture(params=[pytest.param("postgres", marks=POSTGRES), pytest.param("redis", marks=REDIS)])
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(database_store, "TIMEOUT", 1.0)
    monkeypatch.setattr(redis_store, "TIMEOUT", 1.0)
    if request.param == "postgres":
        return on_postgres(request.getfixturevalue("database"))
    request.getfixturevalue("replica")
    return on_redis(request.getfixturevalue("primary"))


@asynccontextmanager
async def people(store: Store, *names: str, **table: Any) -> AsyncGenerator[list[JwtClient], None]:
    """Give clients of one service who have logged in under *names*."""
    async with service({**NO_GRACE, **table}, store.plugins) as client:
        clients = [client.another() for _ in names]
        for each, name in zip(clients, names, strict=True):
            await log_in(each, name)
        yield clients


async def log_in(client: JwtClient, name: str) -> None:
    """Log in, if need be again and again: a replica that is new may not acknowledge in time at first."""
    client.keep(await until(lambda: client.send("/login", "POST", {"subject": name}), 200))


async def until(ask: Callable[[], Awaitable[Answer]], status: int) -> Answer:
    while (answer := await ask()).status != status:
        assert answer.status == 503, answer
        await asyncio.sleep(0.02)
    return answer


def trouble(client: JwtClient) -> str:
    found: str = client.app.context.get(COMPONENTS).poller.last_error
    return found


@pytest.mark.parametrize("how", ["kill", "pause"])
async def test_tokens_are_verified_while_it_is_gone_and_nothing_else_is_promised(store: Store, how: str) -> None:
    async with people(store, "ada", "bob", "eve", "mallory") as (ada, bob, eve, mallory):
        assert (await ada.api()).status == 200
        await store.fail(how)
        try:
            tries = [
                ada.refresh(),
                eve.logout(),
                mallory.send("/revoke", "POST", {"subject": "mallory"}),
                ada.another().send("/login", "POST", {"subject": "carol"}),
            ]
            asked = asyncio.gather(*tries)
            verified = await asyncio.gather(*(each.api() for each in (ada, bob) for _ in range(20)))
            assert {answer.status for answer in verified} == {200}, "remembered, and seen for the first time"
            answers = await asked
            assert [(each.status, each.header("retry-after")) for each in answers] == [(503, "1")] * 4
            while "revocations cannot be read" not in trouble(ada):
                await asyncio.sleep(0.02)
            assert "revocations cannot be read" in await health(ada)
            assert (await bob.api()).status == 200
        finally:
            await store.recover()
        await until(lambda: ada.another().send("/login", "POST", {"subject": "carol"}), 200)
        while trouble(ada):
            await asyncio.sleep(0.02)
        assert await health(ada) == ""


@pytest.mark.parametrize("store", [pytest.param("postgres", marks=POSTGRES)], indirect=True)
@pytest.mark.parametrize("how", ["kill", "pause"])
async def test_who_was_told_that_it_is_gone_is_no_thief_however_late_the_next_try(store: Store, how: str) -> None:
    async with people(store, "ada") as (ada,):
        used = ada.refresh_token
        await store.fail(how)
        try:
            assert (await ada.refresh()).status == 503  # it may have been used all the same, now or once it goes on
        finally:
            await store.recover()
        ada.keep(await until(ada.refresh, 200))
        assert (await ada.api()).status == 200
        ada.keep(await ada.refresh())
        assert (await ada.refresh(used)).status == 401, "from then on it is used"
        assert (await ada.refresh()).status == 401


async def test_what_was_revoked_elsewhere_meanwhile_is_known_afterwards(store: Store) -> None:
    async with people(store, "ada", poll_interval="100ms") as (ada,), people(store, "bob") as (bob,):
        assert (await ada.api()).status == 200
        await store.fail("pause")
        try:
            while not trouble(ada):
                await asyncio.sleep(0.02)
        finally:
            await store.recover()
        assert (await until(lambda: bob.send("/revoke", "POST", {"subject": "ada"}), 200)).status == 200
        while (answer := await ada.api()).status != 401:
            assert answer.status == 200
            await asyncio.sleep(0.02)
        await until(ada.refresh, 401)


async def test_bound_tokens_wait_for_it_since_nobody_knows_which_proofs_were_used(store: Store) -> None:
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


async def test_a_service_starts_without_it_and_takes_no_token_until_it_knows_what_was_revoked(store: Store) -> None:
    if isinstance(store.server, Postgres):
        store.server.sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    async with people(store, "ada") as (ada,):
        pass
    await store.fail("pause")
    try:
        async with service(NO_GRACE, store.plugins) as client:
            client.token, client.cookie = ada.token, ada.cookie
            assert "revocations cannot be read" in trouble(client)
            assert (await client.send("/open")).status == 200
            assert (await client.send("/api/who")).status == 401
            assert (await client.send("/login", "POST", {"subject": "ada"})).status == 503
            answer = await client.api()
            assert (answer.status, answer.header("retry-after")) == (503, "1")
            await store.recover()
            await until(client.api, 200)
            await until(lambda: client.send("/login", "POST", {"subject": "ada"}), 200)
    finally:
        await store.recover()


@POSTGRES
async def test_the_tables_are_made_when_the_database_is_there(
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
async def test_a_database_that_refuses_the_tables_ends_the_start(database: Postgres) -> None:
    database.sql("DROP SCHEMA public CASCADE")
    try:
        with pytest.raises(Exception, match="schema"):
            async with service(plugins=on_postgres(database).plugins):
                pass
    finally:
        database.sql("CREATE SCHEMA public")


@POSTGRES
async def test_a_refresh_that_was_committed_and_not_answered_is_no_theft_when_it_is_tried_again(
    database: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_store, "TIMEOUT", 1.0)
    async with people(on_postgres(database), "ada") as (ada,):
        await asyncio.to_thread(wait_for_replicas, database, "nobody")  # what is committed is not mark_delivered
        try:
            while (answer := await ada.refresh()).status == 200:
                ada.keep(answer)
            assert answer.status == 503
            family = parse_jws(ada.refresh_token.encode()).claims
            where = f"family = '{family['sid']}' AND previous = '{family['jti']}'"
            count = f"SELECT count(*) FROM scalekit_jwt_sessions WHERE {where}"
            await asyncio.to_thread(wait_for, "the change", lambda: database.sql(count) == "1")  # it was used
        finally:
            await asyncio.to_thread(wait_for_replicas, database, "")
        used = ada.refresh_token
        ada.keep(await until(ada.refresh, 200))
        ada.keep(await ada.refresh())
        assert (await ada.refresh(used)).status == 401


def wait_for_replicas(server: Postgres, name: str) -> None:
    server.sql(f"ALTER SYSTEM SET synchronous_standby_names = '{name}'")
    server.sql("SELECT pg_reload_conf()")


@REDIS
async def test_a_refresh_waits_for_a_replica_and_is_no_theft_when_it_is_tried_again(
    primary: Redis, replica: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with people(on_redis(primary), "ada") as (ada,):
        monkeypatch.setattr(redis_store, "REPLICA_ACK_TIMEOUT_MS", 100)
        used = ada.refresh_token
        await asyncio.to_thread(replica.pause)
        try:
            for _ in range(3):
                assert (await ada.refresh()).status == 503
        finally:
            await asyncio.to_thread(replica.resume)
        ada.keep(await until(ada.refresh, 200))
        ada.keep(await until(ada.refresh, 200))
        assert (await until(lambda: ada.refresh(used), 401)).status == 401


@REDIS
async def test_what_a_client_was_told_has_come_to_last_when_the_primary_dies(primary: Redis, replica: Redis) -> None:
    async with people(on_redis(primary), "ada", "bob") as (ada, bob):
        used = ada.refresh_token
        ada.keep(await until(ada.refresh, 200))
        await until(lambda: bob.send("/revoke", "POST", {"subject": "bob"}), 200)
        await asyncio.to_thread(primary.kill)
        replica.cli("REPLICAOF", "NO", "ONE")
        replica.cli("CONFIG", "SET", "repl-diskless-sync-delay", "0")
        with Redis("--replicaof", HOST, str(replica.port)):
            await asyncio.to_thread(wait_for, "the next replica", lambda: in_step(replica))
            async with service(NO_GRACE, on_redis(replica).plugins) as client:
                for each, status in ((bob, 401), (ada, 200)):
                    client.token, client.refresh_token, client.cookie = each.token, each.refresh_token, each.cookie
                    assert (await client.api()).status == status
                    await until(client.refresh, status)
                await until(lambda: client.refresh(used), 401)  # it was used, and the next primary knows


async def test_revocations_are_heard_of_after_they_have_been_lost(store: Store) -> None:
    async with people(store, "ada") as (ada,):
        assert (await ada.api()).status == 200
        ada.app.context.get(COMPONENTS).tokens._revocations.last_number = 1_000_000  # more than was ever told since
        await until(lambda: ada.send("/revoke", "POST", {"subject": "ada"}), 200)
        while (await ada.api()).status == 200:
            await asyncio.sleep(0.02)
        now = time.time()
        assert await ada.app.context.get(COMPONENTS).tokens._store.revocations(2_000_000, now)
