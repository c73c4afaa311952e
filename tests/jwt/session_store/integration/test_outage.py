"""Outages of the session store: crash, hang, recovery and data loss."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from scalekit_jwt.jws import parse_jws
from scalekit_jwt.plugin import COMPONENTS
from scalekit_jwt.session_store import database as database_store
from scalekit_jwt.session_store import redis as redis_store
from tests.jwt.dpop_client import DpopClient
from tests.jwt.harness import health, service
from tests.jwt.outage import NO_GRACE, SessionStoreServer, clients_of, last_error, log_in, on_postgres, on_redis, until
from tests.processes import wait_for
from tests.servers import Postgres

pytestmark = pytest.mark.anyio
REDIS = pytest.mark.needs("redis")
POSTGRES = pytest.mark.needs("postgres")


@pytest.fixture(scope="module")
def database() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


@pytest.fixture(params=[pytest.param("postgres", marks=POSTGRES), pytest.param("redis", marks=REDIS)])
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> SessionStoreServer:
    monkeypatch.setattr(database_store, "TIMEOUT", 1.0)
    monkeypatch.setattr(redis_store, "TIMEOUT", 1.0)
    if request.param == "postgres":
        return on_postgres(request.getfixturevalue("database"))
    request.getfixturevalue("replica")
    return on_redis(request.getfixturevalue("primary"))


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
                ada.new_client().send("/login", "POST", {"subject": "carol"}),
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
        await until(lambda: ada.new_client().send("/login", "POST", {"subject": "carol"}), 200)
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
        ada.store_tokens(await until(ada.refresh, 200))
        assert (await ada.api()).status == 200
        ada.store_tokens(await ada.refresh())
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
            assert (await client.send("/api/user")).status == 401
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
                ada.store_tokens(response)
            assert response.status == 503
            family = parse_jws(ada.refresh_token.encode()).claims
            where = f"family = '{family['sid']}' AND previous = '{family['jti']}'"
            count = f"SELECT count(*) FROM scalekit_jwt_sessions WHERE {where}"
            await asyncio.to_thread(wait_for, "the committed rotation", lambda: database.sql(count) == "1")
        finally:
            await asyncio.to_thread(wait_for_replicas, database, "")
        rotated_token = ada.refresh_token
        ada.store_tokens(await until(ada.refresh, 200))
        ada.store_tokens(await ada.refresh())
        assert (await ada.refresh(rotated_token)).status == 401


def wait_for_replicas(server: Postgres, name: str) -> None:
    server.sql(f"ALTER SYSTEM SET synchronous_standby_names = '{name}'")
    server.sql("SELECT pg_reload_conf()")


async def test_revocations_are_loaded_after_the_store_lost_its_data(store: SessionStoreServer) -> None:
    async with clients_of(store, "ada") as (ada,):
        assert (await ada.api()).status == 200
        poller = ada.app.context.get(COMPONENTS).poller
        poller._revocations.last_number = 1_000_000  # higher than any number of the store
        await until(lambda: ada.send("/revoke", "POST", {"subject": "ada"}), 200)
        while (await ada.api()).status == 200:
            await asyncio.sleep(0.02)
        now = time.time()
        assert await poller._store.revocations(2_000_000, now)
