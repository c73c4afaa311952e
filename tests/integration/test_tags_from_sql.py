"""Responses stored until a table changes: cache, pool and replicas together."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from scalekit import ConfigError, create_app
from scalekit.testing.conformance import bare_application
from tests.processes import wait_for
from tests.servers import Postgres, Redis
from tests.service import Service

APPLICATION = """\
import asyncio
import itertools

from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

from scalekit.contracts import DATABASE, READS
from scalekit_cache import cached

calls = itertools.count(1)
waiting, going_on = asyncio.Event(), asyncio.Event()


async def list_rows(database, table):
    rows = await database.fetch_all(f"SELECT n FROM {table} ORDER BY n")
    return JSONResponse({"call": next(calls), "rows": [row["n"] for row in rows]})


@cached(ttl="1h", tags=["declared"])
async def show(request):
    return await list_rows(DATABASE(request), request.path_params["table"])


@cached(ttl="1h")
async def show_reads(request):
    return await list_rows(READS(request), request.path_params["table"])


@cached(ttl="1h")
async def slow(request):
    made = await list_rows(DATABASE(request), "items")
    waiting.set()
    await going_on.wait()
    return made


@cached(ttl="1h")
async def raw(request):
    async with DATABASE(request).connection() as session:
        session.raw_connection
    return JSONResponse({"call": next(calls)})


@cached(ttl="1h")
async def nothing(request):
    return JSONResponse({"call": next(calls)})


async def run(request):
    for query in await request.json():
        await DATABASE(request).execute(query)
    return PlainTextResponse("")


async def undo(request):
    async with DATABASE(request).transaction(force_rollback=True):
        for query in await request.json():
            await DATABASE(request).execute(query)
    return PlainTextResponse("")


async def wait(request):
    await waiting.wait()
    return PlainTextResponse("")


async def go_on(request):
    going_on.set()
    return PlainTextResponse("")


app = Starlette(routes=[
    Route("/show/{table}", show), Route("/reads/{table}", show_reads), Route("/raw", raw), Route("/nothing", nothing),
    Route("/slow", slow), Route("/run", run, methods=["POST"]), Route("/undo", undo, methods=["POST"]),
    Route("/wait", wait, methods=["POST"]), Route("/go_on", go_on, methods=["POST"]),
])
"""
TABLES = ("CREATE TABLE items (n INTEGER)", "CREATE TABLE others (n INTEGER)")


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.needs("postgres"))])
def pool(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the table of the pool for an unavailable database."""
    if request.param == "sqlite":
        return f'[plugins.pool]\nurl = "sqlite:///{tmp_path}/test.db"\n'
    server: Postgres = request.getfixturevalue("postgres")
    server.sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    return f'[plugins.pool]\nurl = "{server.url}"\nsslmode = "disable"\n'


def cache(url: str = "memory:") -> str:
    return f'[plugins.cache]\ntags_from_sql = true\nurl = "{url}"\n[plugins.metrics]\n'


class Client:
    """A client that reads from and writes to a service."""

    def __init__(self, service: Service) -> None:
        self._url = service.url

    def get(self, path: str) -> Any:
        response = httpx2.get(self._url + path, timeout=60, verify=False)
        assert response.status_code == 200, response.text
        return response.json()

    def post(self, path: str, *queries: str) -> None:
        response = httpx2.post(self._url + path, json=queries, timeout=60, verify=False)
        assert response.status_code == 200, response.text

    def metric(self, line: str) -> bool:
        return f"{line}\n" in httpx2.get(f"{self._url}/metrics", timeout=60, verify=False).text


def test_a_response_is_stored_until_a_table_that_it_read_changes(pool: str) -> None:
    with Service(cache() + pool, {"service": APPLICATION}) as service:
        client = Client(service)
        client.post("/run", *TABLES)
        first = {path: client.get(path) for path in ("/show/items", "/show/ITEMS", "/show/others", "/nothing")}
        assert {path: client.get(path) for path in first} == first
        client.post("/run", "INSERT INTO items (n) VALUES (1)")
        assert client.get("/show/items")["rows"] == client.get("/show/ITEMS")["rows"] == [1]
        assert client.get("/show/others") == first["/show/others"]
        client.post("/undo", "DELETE FROM items")
        stored = client.get("/show/items")
        client.post("/undo", "DELETE FROM items")
        assert client.get("/show/items") == stored, "a rolled-back write purges nothing"
        client.post("/run", "CREATE TABLE more (n INTEGER)")
        assert client.get("/show/items")["call"] > stored["call"]
        assert client.get("/show/others") != first["/show/others"], "a statement with unknown tables purges everything"
        assert client.get("/nothing") == first["/nothing"], "it was made from no table"


def test_a_response_with_unknown_tables_is_not_stored(pool: str) -> None:
    with Service(cache() + pool, {"service": APPLICATION}) as service:
        client = Client(service)
        client.post("/run", *TABLES)
        assert client.get("/raw") != client.get("/raw")
        assert "stored" not in httpx2.get(service.url + "/raw", timeout=60, verify=False).headers["cache-status"]
        catalog = "sqlite_master" if "sqlite" in pool else "pg_class"
        path = f"/show/(SELECT 1 AS n FROM {catalog}) AS s"
        assert client.get(path) != client.get(path)


def test_a_response_read_before_a_write_is_neither_stored_nor_shared_after_it(pool: str) -> None:
    with Service(cache() + pool, {"service": APPLICATION}) as service:
        client = Client(service)
        client.post("/run", *TABLES)
        with ThreadPoolExecutor(2) as threads:
            leading = threads.submit(client.get, "/slow")
            client.post("/wait")
            client.post("/run", "INSERT INTO items (n) VALUES (1)")
            following = threads.submit(client.get, "/slow")
            client.post("/go_on")
            assert leading.result()["rows"] == []
            assert following.result()["rows"] == [1]
        assert client.get("/slow")["rows"] == [1]


@pytest.mark.needs("redis")
def test_a_change_in_one_process_purges_in_another(pool: str) -> None:
    with Redis() as store:
        toml = cache(store.url) + pool
        with (
            Service(toml, {"service": APPLICATION}) as one,
            Service(toml, {"service": APPLICATION}) as two,
        ):
            writer, reader = Client(one), Client(two)
            writer.post("/run", *TABLES)
            stored = reader.get("/show/items")
            wait_for("the response to be shared", lambda: writer.get("/show/items") == stored)
            for n in range(20):
                writer.post("/run", f"INSERT INTO items (n) VALUES ({n})")
                assert writer.get("/show/items")["rows"] == list(range(n + 1))
                wait_for("the purge", lambda n=n: reader.get("/show/items")["rows"] == list(range(n + 1)))  # type: ignore[misc]


@pytest.mark.needs("redis")
@pytest.mark.parametrize("harm", ["kill", "pause"])
def test_a_write_succeeds_without_the_store_and_its_worker_sends_no_stale_response(pool: str, harm: str) -> None:
    with Redis("--appendonly", "yes") as store, Service(cache(store.url) + pool, {"service": APPLICATION}) as service:
        client = Client(service)
        client.post("/run", *TABLES)
        stored = client.get("/show/items")
        wait_for("the response to be stored", lambda: client.get("/show/items") == stored)
        getattr(store, harm)()
        client.post("/run", "INSERT INTO items (n) VALUES (1)")
        assert client.get("/show/items")["rows"] == [1]
        assert client.metric("scalekit_cache_pending_purges 1")
        (store.start if harm == "kill" else store.resume)()
        wait_for("the purge", lambda: client.metric("scalekit_cache_pending_purges 0"))
        assert client.get("/show/items")["rows"] == [1]
        made = client.get("/show/items")
        wait_for("responses to be stored again", lambda: client.get("/show/items") == client.get("/show/items"))
        assert made["rows"] == [1]


@pytest.mark.needs("postgres")
def test_responses_read_from_the_primary_are_stored_and_those_from_a_replica_are_not() -> None:
    with Postgres() as primary:
        for table in TABLES:
            primary.sql(table)
        with primary.replica("one") as replica:
            pool = f'[plugins.pool]\nurl = "{primary.url}"\nsslmode = "disable"\n'
            replicas = f'[plugins.replica]\nurls = ["{replica.url}"]\nsecret = "{"s" * 40}"\n'
            with Service(cache() + pool + replicas, {"service": APPLICATION}) as service:
                client = Client(service)
                up = f'scalekit_replica_up{{replica="127.0.0.1:{replica.port}"}} 1'
                wait_for("the replica", lambda: client.metric(up))
                assert client.get("/reads/items") != client.get("/reads/items")
                assert client.get("/show/items") == client.get("/show/items")


def test_without_a_pool_the_error_names_the_missing_plugin(tmp_path: Path) -> None:
    file = tmp_path / "scalekit.toml"
    file.write_text("[plugins.cache]\ntags_from_sql = true\n")
    with pytest.raises(
        ConfigError, match=r"requires 'database', which no enabled plugin provides; turn on .plugins.pool"
    ):
        create_app(file, app=bare_application)


def test_reads_without_replicas_use_the_primary(pool: str) -> None:
    with Service(cache() + pool + "[plugins.replica]\n", {"service": APPLICATION}) as service:
        client = Client(service)
        client.post("/run", *TABLES)
        assert client.get("/reads/items") == client.get("/reads/items")
        client.post("/run", "INSERT INTO items (n) VALUES (1)")
        assert client.get("/reads/items")["rows"] == [1]
