"""Requests that repeat a statement are found, and no others: handlers, of which some do."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket

from scalekit import create_app
from scalekit.contracts import DATABASE, Database
from scalekit.host import Host
from scalekit.telemetry import TELEMETRY
from scalekit.testing import query_budget, request, running
from scalekit_pool.filters import CURRENT_REQUEST
from scalekit_pool.query_budget import EXCEEDED, MAX_FINGERPRINTS, REPEATED, QueryBudgetExceeded
from tests.recorded_spans import recorded_spans

pytestmark = pytest.mark.anyio

ITEMS = sqlalchemy.table("items", sqlalchemy.column("id"), sqlalchemy.column("name"))
ONE = "SELECT name FROM items WHERE id = :id"


class Model(DeclarativeBase):
    pass


class Item(Model):
    __tablename__ = "items"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


Handler = Callable[[Database], Awaitable[object]]

repeating: list[Handler] = []
others: list[Handler] = []


def repeats(handler: Handler) -> Handler:
    repeating.append(handler)
    return handler


def is_fine(handler: Handler) -> Handler:
    others.append(handler)
    return handler


@repeats
async def loop_over_rows(database: Database) -> None:
    for row in await database.fetch_all("SELECT id FROM items"):
        await database.fetch_one(ONE, {"id": row[0]})


@repeats
async def loop_in_a_transaction(database: Database) -> None:
    async with database.transaction():
        for number in range(11):
            await database.fetch_one(ONE, {"id": number})


@repeats
async def concurrently(database: Database) -> None:
    await asyncio.gather(*(database.fetch_val(ONE, {"id": number}) for number in range(12)))


@repeats
async def expression(database: Database) -> None:
    for number in range(11):
        await database.fetch_all(sqlalchemy.select(ITEMS.c.name).where(ITEMS.c.id == number))


@repeats
async def values_in_the_text(database: Database) -> None:
    for number in range(11):
        await database.fetch_all(f"SELECT name FROM items WHERE id = {number}")


@repeats
async def texts_in_the_text(database: Database) -> None:
    for number in range(11):
        await database.fetch_all(f"SELECT id FROM items WHERE name = 'it''s {number}'")


@repeats
async def lists_of_any_length(database: Database) -> None:
    for number in range(1, 12):
        await database.fetch_all(sqlalchemy.select(ITEMS.c.id).where(ITEMS.c.id.in_(list(range(number)))))


@repeats
async def writes_one_by_one(database: Database) -> None:
    for number in range(11):
        await database.execute("UPDATE items SET name = :name WHERE id = :id", {"id": number, "name": "x"})


@repeats
async def in_one_connection(database: Database) -> None:
    async with database.connection() as connection:
        for number in range(11):
            await connection.fetch_val(ONE, {"id": number})


@repeats
async def streams(database: Database) -> None:
    for number in range(11):
        async for _ in database.iterate(ONE, {"id": number}):
            pass


@repeats
async def objects_one_by_one(database: Database) -> None:
    async with database.sessions() as session:
        for number in range(11):
            await session.get(Item, number)


@repeats
async def in_one_session(database: Database) -> None:
    async with database.sessions() as session:
        for number in range(11):
            session.add(Item(id=1000 + number, name="x"))
            await session.flush()


@repeats
async def lists_of_any_length_in_a_session(database: Database) -> None:
    async with database.sessions() as session:
        for number in range(1, 12):
            await session.scalars(sqlalchemy.select(Item).where(Item.id.in_(list(range(number)))))


@is_fine
async def many_objects_in_one_flush(database: Database) -> None:
    async with database.sessions() as session:
        session.add_all(Item(id=1000 + number, name="x") for number in range(50))
        await session.flush()


@is_fine
async def one_list_in_a_session(database: Database) -> None:
    async with database.sessions() as session:
        await session.scalars(sqlalchemy.select(Item).where(Item.id.in_(list(range(50)))))


@is_fine
async def one_query(database: Database) -> None:
    await database.fetch_all("SELECT * FROM items")


@is_fine
async def ten_times(database: Database) -> None:
    for number in range(10):
        await database.fetch_one(ONE, {"id": number})


@is_fine
async def many_rows_in_one_statement(database: Database) -> None:
    await database.execute_many(
        "UPDATE items SET name = :name WHERE id = :id", [{"id": number, "name": "y"} for number in range(50)]
    )


@is_fine
async def one_list(database: Database) -> None:
    await database.fetch_all(sqlalchemy.select(ITEMS.c.id).where(ITEMS.c.id.in_(list(range(50)))))


@is_fine
async def joined(database: Database) -> None:
    await database.fetch_all("SELECT a.id, b.id FROM items a JOIN items b ON a.id = b.id")


@is_fine
async def many_different_statements(database: Database) -> None:
    for column in ("id", "name"):
        for order in ("id", "name"):
            for direction in ("ASC", "DESC"):
                for condition in ("IS NULL", "IS NOT NULL"):
                    await database.fetch_all(
                        f"SELECT {column} FROM items WHERE id {condition} ORDER BY {order} {direction}"
                    )


@is_fine
async def one_stream_of_many_rows(database: Database) -> None:
    async for _ in database.iterate("SELECT * FROM items"):
        pass


@is_fine
async def two_loops_of_eight(database: Database) -> None:
    for number in range(8):
        await database.fetch_val(ONE, {"id": number})
        await database.fetch_val("SELECT id FROM items WHERE name = :name", {"name": str(number)})


@is_fine
async def names_with_numbers(database: Database) -> None:
    for number in range(11):
        await database.fetch_all(f"SELECT id AS column_{number} FROM items")


@is_fine
async def one_transaction(database: Database) -> None:
    async with database.transaction():
        await database.execute("UPDATE items SET name = 'z' WHERE id = 1")
        await database.fetch_all("SELECT * FROM items")


HANDLERS = [*repeating, *others]


def route_of(handler: Handler) -> str:
    return f"/{getattr(handler, '__name__', '')}"


def endpoint(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    async def respond(request: Request) -> Response:
        await handler(DATABASE(request))
        return PlainTextResponse("")

    return respond


@asynccontextmanager
async def serving(
    folder: Path, total: int | None = None, **budget: Any
) -> AsyncGenerator[tuple[Host, dict[str, Any]], None]:
    routes = [Route(route_of(each), endpoint(each)) for each in HANDLERS]
    pool = {"url": f"sqlite:///{folder}/data.db", "query_budget": budget if total is None else total}
    app = create_app({"plugins": {"pool": pool, "metrics": {}}}, app=Starlette(routes=routes))
    async with running(app) as state:
        database = app.context.get(DATABASE)
        await database.execute("CREATE TABLE items (id int, name text)")
        await database.execute_many("INSERT INTO items VALUES (:id, 'a')", [{"id": number} for number in range(20)])
        yield app, state


async def test_precision_and_recall_are_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(tmp_path) as (app, state):
        for handler in HANDLERS * 2:
            assert (await request(app, route_of(handler), state=state)).status == 200
        found = app.context.get(TELEMETRY).snapshot().families[REPEATED.name].data
    assert found == {("primary", route_of(each)): 2 for each in repeating}
    records: list[Any] = [record for record in caplog.records if record.name == "scalekit.pool"]
    assert sorted(record.route for record in records) == sorted(map(route_of, repeating)), "once per route"
    for record in records:
        assert record.levelno == logging.WARNING
        assert "test_query_budget.py:" in record.location or record.route == "/concurrently"
        assert "it''s" not in record.getMessage()
    looped = next(record for record in records if record.route == "/loop_over_rows")
    assert looped.location.endswith("in loop_over_rows")
    assert looped.statement == "SELECT name FROM items WHERE id = ?"


async def test_a_repeated_statement_is_an_event_of_the_span(tmp_path: Path) -> None:
    async with serving(tmp_path) as (app, state):
        for _ in range(2):  # not only in the first request of the route, as in the log
            with recorded_spans() as spans:
                await request(app, "/loop_over_rows", state=state)
            ((name, attributes),) = spans.root_events()
            assert name == "query budget"
            lines = inspect.getsourcelines(loop_over_rows)
            assert attributes == {
                "scalekit.query_budget.problem": "one statement more than 10 times (N+1)",
                "db.query.text": "SELECT name FROM items WHERE id = ?",
                "code.file.path": __file__,
                "code.line.number": lines[1] + len(lines[0]) - 1,
                "code.function.name": "loop_over_rows",
            }


@pytest.mark.parametrize("budget", [{"total": 15}, {"repeat": 0, "statements": 15}], ids=["number", "table"])
async def test_a_budget_of_all_statements(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, budget: dict[str, Any]
) -> None:
    async with serving(tmp_path, **budget) as (app, state):
        for handler in HANDLERS:
            await request(app, route_of(handler), state=state)
    routes = {getattr(record, "route", "") for record in caplog.records if "15 statements" in record.getMessage()}
    assert routes == {"/loop_over_rows", "/many_different_statements", "/two_loops_of_eight"}


async def test_a_strict_budget_raises_and_releases_the_connection(tmp_path: Path) -> None:
    async with serving(tmp_path, strict=True) as (app, state):
        for handler in repeating:
            with pytest.raises(QueryBudgetExceeded, match="N\\+1"):
                await request(app, route_of(handler), state=state)
        for handler in others:
            assert (await request(app, route_of(handler), state=state)).status == 200
        pool = app.context.get(DATABASE).driver.readers  # type: ignore[attr-defined] # a PooledDatabase
        assert pool.idle == pool.supplier.size


async def test_the_fixture_for_tests(tmp_path: Path) -> None:
    async with serving(tmp_path) as (app, state):
        with query_budget(1) as statements:
            await request(app, "/one_query", state=state)
        assert statements == ["SELECT * FROM items"]
        with pytest.raises(AssertionError) as error, query_budget(5):
            await request(app, "/ten_times", state=state)
    assert str(error.value) == "10 statements ran, more than 5:\n10 x SELECT name FROM items WHERE id = ?"


async def test_different_statements_of_a_request_are_bounded(tmp_path: Path) -> None:
    async def many(request: Request) -> Response:
        database = DATABASE(request)
        for number in range(MAX_FINGERPRINTS + 12):
            await database.fetch_all(f"SELECT 1 AS c{number}")
        counted = CURRENT_REQUEST.get()
        assert counted is not None
        return PlainTextResponse(str(len(counted.statements)))

    pool = {"url": f"sqlite:///{tmp_path}/data.db"}
    app = create_app({"plugins": {"pool": pool, "metrics": {}}}, app=Starlette(routes=[Route("/many", many)]))
    async with running(app) as state:
        assert int((await request(app, "/many", state=state)).body) == MAX_FINGERPRINTS + 1
        assert REPEATED.name not in app.context.get(TELEMETRY).snapshot().families, "they all differ"


@pytest.mark.parametrize("budget", [{"repeat": 3}, {"repeat": 0, "statements": 3}])
async def test_a_strict_budget_raises_for_each_statement_beyond(tmp_path: Path, budget: dict[str, int]) -> None:
    async def many(request: Request) -> Response:
        database = DATABASE(request)
        found = await asyncio.gather(
            *(database.fetch_val("SELECT :id", {"id": number}) for number in range(10)), return_exceptions=True
        )
        return PlainTextResponse(str(sum(isinstance(each, QueryBudgetExceeded) for each in found)))

    pool = {"url": f"sqlite:///{tmp_path}/data.db", "query_budget": {**budget, "strict": True}}
    app = create_app({"plugins": {"pool": pool, "metrics": {}}}, app=Starlette(routes=[Route("/many", many)]))
    async with running(app) as state:
        assert (await request(app, "/many", state=state)).body == b"7"
        families = app.context.get(TELEMETRY).snapshot().families
        counter = REPEATED if budget["repeat"] else EXCEEDED
        assert families[counter.name].data == {("primary", "/many"): 1}, "one request"


async def test_a_task_that_outlives_its_request_has_no_budget(tmp_path: Path) -> None:
    tasks: list[asyncio.Task[None]] = []

    async def poll(database: Database) -> None:
        for number in range(30):
            await database.fetch_val("SELECT :id", {"id": number})

    async def begin(request: Request) -> Response:
        database = DATABASE(request)

        async def later() -> None:
            await ended.wait()
            await poll(database)

        ended = asyncio.Event()
        request.app.state.ended = ended
        tasks.append(asyncio.create_task(later()))
        return PlainTextResponse("", background=BackgroundTask(poll, database) if "slow" in request.url.path else None)

    routes = [Route("/begin", begin), Route("/slow", begin)]
    pool = {"url": f"sqlite:///{tmp_path}/data.db", "query_budget": {"strict": True}}
    application = Starlette(routes=routes)
    app = create_app({"plugins": {"pool": pool, "metrics": {}}}, app=application)
    async with running(app) as state:
        await request(app, "/begin", state=state)
        application.state.ended.set()
        await tasks.pop()
        with pytest.raises(QueryBudgetExceeded):
            await request(app, "/slow", state=state)
        application.state.ended.set()
        await tasks.pop()


async def test_a_websocket_has_no_budget(tmp_path: Path) -> None:
    async def talk(websocket: WebSocket) -> None:
        await websocket.accept()
        for number in range(30):
            await DATABASE(websocket).fetch_val("SELECT :id", {"id": number})
        await websocket.close(4000)

    pool = {"url": f"sqlite:///{tmp_path}/data.db", "query_budget": {"strict": True}}
    app = create_app({"plugins": {"pool": pool}}, app=Starlette(routes=[WebSocketRoute("/talk", talk)]))
    with TestClient(app) as client, client.websocket_connect("/talk") as websocket:
        assert websocket.receive()["code"] == 4000
