"""The page of a running application, on SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from time import time
from typing import Any

import orjson
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

import scalekit_pool
from scalekit import create_app
from scalekit.contracts import DATABASE
from scalekit.testing import running
from scalekit_pool.records import RECORDS
from tests.console.clients import Browser
from tests.pool.conftest import POSTGRES
from tests.pool.harness import wait_until

pytestmark = pytest.mark.anyio

Blocks = dict[str, Any]
"""The blocks of the page by title; notices by their text."""


async def item(request: Request) -> PlainTextResponse:
    name = await DATABASE(request).fetch_val("SELECT name FROM items WHERE id = :id", {"id": 1})
    return PlainTextResponse(str(name))


async def literal(request: Request) -> PlainTextResponse:
    """Run the SQL of the body, as an application with SQL injection does; a half of a surrogate pair may be in it."""
    try:
        await DATABASE(request).fetch_all((await request.body()).decode(errors="surrogatepass"))
    except Exception as error:
        return PlainTextResponse(str(error), 500)
    return PlainTextResponse("")


async def repeat(request: Request) -> PlainTextResponse:
    for _ in range(11):
        await item(request)
    return PlainTextResponse("")


async def hold(request: Request) -> PlainTextResponse:
    async with DATABASE(request).transaction():
        await asyncio.sleep(30)
    return PlainTextResponse("")


APPLICATION = Starlette(
    routes=[
        Route("/item/{number}", item),
        Route("/sql", literal, methods=["POST"]),
        Route("/repeat/{number}", repeat),
        Route("/hold", hold),
    ]
)


class Visitor(Browser):
    """Sends requests, and reads the page."""

    async def sql(self, sql: str) -> None:
        await self._send("POST", "/sql", {}, sql.encode(errors="surrogatepass"))

    async def page(self, query: str = "") -> Blocks:
        response = await self.get(f"/-/database.json{query}")
        assert response.status == 200
        blocks = orjson.loads(response.body)["blocks"]
        return {block.get("title") or block["text"]: block for block in blocks}

    async def migrations(self) -> list[tuple[str, str]]:
        return [(row[0], row[1]["text"]) for row in (await self.page())["Migrations"]["rows"]]

    async def plan(self, text: str) -> Blocks:
        """Follow the link beside the statement *text*."""
        (row,) = [row for row in (await self.page())["Statements by time"]["rows"] if row[1] == text]
        return await self.page(f"?statement={row[-1]['query']['statement']}")


@asynccontextmanager
async def visitor_of(url: str, console: bool = True, **pool: Any) -> AsyncGenerator[Visitor, None]:
    plugins = {"pool": {"url": url, "sslmode": "disable", **pool}} | ({"console": {}} if console else {})
    app = create_app({"plugins": plugins, "server": {"operator_networks": ["127.0.0.1"]}}, app=APPLICATION)
    async with running(app) as state:
        visitor = Visitor(app, state)
        await visitor.sql("CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT)")
        await visitor.sql("INSERT INTO items VALUES (1, 'Ada')")
        yield visitor


@pytest.fixture
async def visitor(url: str, tmp_path: Path) -> AsyncGenerator[Visitor, None]:
    async with visitor_of(url, migrations=str(tmp_path / "migrations")) as visitor:
        yield visitor


async def test_statements_are_counted_by_fingerprint(visitor: Visitor) -> None:
    for number in range(3):
        await visitor.get(f"/item/{number}")
    await visitor.sql("SELECT id FROM items WHERE name = 'secret one'")
    await visitor.sql("SELECT id FROM items WHERE name = 'secret two'")
    await visitor.sql("SELECT id FROM missing WHERE name = 'secret three'")
    page = await visitor.page()
    assert next(iter(page)) == "Connections"
    table = page["Statements by time"]
    found = {row[1]: row for row in table["rows"]}
    by_name = found["SELECT id FROM items WHERE name = ?"]
    failed = found["SELECT id FROM missing WHERE name = ?"]
    (item,) = [row for text, row in found.items() if text.startswith("SELECT name FROM items WHERE id = ")]
    assert (by_name[2], item[2], item[7], item[8]) == (2, 3, 3, 0)
    assert (failed[2], failed[8]) == (1, 1)
    assert sum(row[4] for row in table["rows"]) == pytest.approx(1)
    assert [row[3] for row in table["rows"]] == sorted((row[3] for row in table["rows"]), reverse=True)
    assert all(row[5] <= row[6] for row in table["rows"])


async def test_findings_name_route_statement_and_line(visitor: Visitor) -> None:
    for number in range(2):
        await visitor.get(f"/repeat/{number}")
    (row,) = (await visitor.page())["N+1 queries and exceeded budgets"]["rows"]
    route, problem, statement, line, requests, last, pool = row
    assert (route, requests, pool) == ("/repeat/{number}", 2, "primary")
    assert "more than 10 times" in problem
    assert statement.startswith("SELECT name FROM items WHERE id = ")
    assert "in item" in line
    assert last > 0


async def test_a_statement_is_explained_without_its_values(visitor: Visitor) -> None:
    await visitor.sql("SELECT id FROM items WHERE name = 'secret <b>' ORDER BY name")
    text = "SELECT id FROM items WHERE name = ? ORDER BY name"
    page = await visitor.plan(text)
    assert page["Statement of primary"]["text"] == text
    assert "items" in page["Plan, for any values"]["text"]
    html = (await visitor.get("/-/database")).body.decode()
    assert "secret" not in html + str(page)
    assert "?statement=" in html


async def test_what_cannot_be_explained_has_no_link_or_says_why(visitor: Visitor) -> None:
    await visitor.sql("DROP TABLE missing")
    await visitor.sql("SELECT a FROM missing WHERE a = 'secret'")
    found = {row[1]: row for row in (await visitor.page())["Statements by time"]["rows"]}
    assert found["DROP TABLE missing"][-1] is None
    page = await visitor.plan("SELECT a FROM missing WHERE a = ?")
    notice = page["The statement cannot be explained without its values."]
    assert "Error: " in notice["remedy"]
    assert "secret" not in str(page)
    assert "No worker has this statement any more." in await visitor.page("?statement=SELECT+1")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT '<script>' AS \"<script>alert(1)</script>\"",
        "SELECT 'secret \ud800', '\udfff' FROM \ud800",
        "SELECT 'secret",
        "SELECT 1; DROP TABLE items; SELECT 'secret'",
        "/* secret */ SELECT \x00 'secret'",
        "SELECT \u202e 'secret' FROM items",
        "SELECT " + ", ".join("'secret'" for _ in range(5000)),
    ],
)
async def test_hostile_statements_break_nothing(visitor: Visitor, sql: str) -> None:
    await visitor.sql(sql)
    page = await visitor.page()
    for row in page["Statements by time"]["rows"]:
        if row[-1]:
            page |= await visitor.page(f"?statement={row[-1]['query']['statement']}")
            html = (await visitor.get(f"/-/database?statement={row[-1]['query']['statement']}")).body.decode()
            assert "secret" not in html
            assert "<script>alert" not in html
    assert "secret" not in str(page)
    assert (await visitor.get("/item/1")).body == b"Ada"


@pytest.mark.parametrize("url", ["file", POSTGRES], indirect=True)
async def test_connections_waits_and_refusals_are_counted(url: str) -> None:
    limits: dict[str, Any] = {"max_size": 1, "max_waiting": 1, "acquire_timeout": "60s"}
    async with visitor_of(url, **limits) as visitor:
        pool, metrics = visitor.app.context.get(RECORDS).pools["primary"]
        before = sum(metrics.waits.counts)
        first = asyncio.create_task(visitor.get("/hold"))
        await wait_until(lambda: pool.supplier.size - pool.idle == 1)
        second = asyncio.create_task(visitor.get("/hold"))
        await wait_until(lambda: pool.waiting == 1)
        await visitor.sql("UPDATE items SET name = 'x'")  # refused, since as many wait as may
        first.cancel()
        await wait_until(lambda: first.done() and pool.waiting == 0)
        third = asyncio.create_task(visitor.get("/hold"))
        await wait_until(lambda: pool.waiting == 1)
        page = await visitor.page()
        second.cancel()
        third.cancel()
        await asyncio.wait([first, second, third])
    (row,) = [row for row in page["Connections"]["rows"] if row[0] == "primary"]
    name, use, in_use, maximum, idle, waiting, waits, p95, refused = row
    assert (name, use, in_use, maximum, idle, waiting, waits - before, refused) == ("primary", 1.0, 1, 1, 0, 1, 1, 1)
    assert p95 > 0
    assert ["1", *row] in page["Connections by worker"]["rows"]


async def test_migrations_are_applied_or_pending(url: str, tmp_path: Path) -> None:
    folder = tmp_path / "migrations"
    async with visitor_of(url, migrations=str(folder)) as visitor:
        assert "create the folder" in (await visitor.page())["Migrations"]["empty"]
        folder.mkdir()
        (folder / "0001_users.sql").write_text("CREATE TABLE users (id INTEGER);\n")
        (folder / "0002_posts.sql").write_text("CREATE TABLE posts (id INTEGER);\n")
        states = [(row[0], row[1]["text"]) for row in (await visitor.page())["Migrations"]["rows"]]
        assert states == [("0001_users", "pending"), ("0002_posts", "pending")]
    if "memory" in url:
        return
    async with visitor_of(url, migrations=str(folder), migrate_on_start=True) as visitor:
        (folder / "0003_tags.sql").write_text("CREATE TABLE tags (id INTEGER);\n")
        rows = (await visitor.page())["Migrations"]["rows"]
        assert [(row[0], row[1]["text"]) for row in rows] == [
            ("0003_tags", "pending"),
            ("0002_posts", "applied"),
            ("0001_users", "applied"),
        ]
        assert rows[0][2] is None
        assert rows[1][2] == pytest.approx(rows[2][2], abs=60) == pytest.approx(time(), abs=300)
        (folder / "0001_users.sql").write_text("changed\n")
        page = await visitor.page()
        assert any("changed after it was applied" in title for title in page)
        assert len(page["Migrations"]["rows"]) == 2


def revision(name: str, parent: str | None, sql: str) -> str:
    lines = f"revision, down_revision = {name!r}, {parent!r}\ndef upgrade():\n    op.execute({sql!r})\n"
    return f"from alembic import op\n{lines}"


@pytest.mark.parametrize("url", ["file", "memory", POSTGRES], indirect=True)
async def test_revisions_of_alembic_are_applied_at_the_start_or_pending(url: str, tmp_path: Path) -> None:
    versions = tmp_path / "alembic_files/versions"
    versions.mkdir(parents=True)
    environment = (Path(scalekit_pool.__file__).parent / "migrations/env.template").read_text()
    (versions.parent / "env.py").write_text(environment)
    (tmp_path / "alembic.ini").write_text("[alembic]\nscript_location = %(here)s/alembic_files\npath_separator = os\n")
    (versions / "r1_tags.py").write_text(revision("r1", None, "CREATE TABLE tags (id INTEGER)"))
    async with visitor_of(url, migrations=str(tmp_path / "alembic.ini"), migrate_on_start=True) as visitor:
        assert await visitor.migrations() == [("r1_tags", "applied")]
        (versions / "r2_more.py").write_text(revision("r2", "r1", "SELECT 1"))
        assert await visitor.migrations() == [("r2_more", "pending"), ("r1_tags", "applied")]
        await visitor.sql("SELECT id FROM tags")
        assert "SELECT id FROM tags" in [row[1] for row in (await visitor.page())["Statements by time"]["rows"]]
        (tmp_path / "alembic.ini").unlink()
        page = await visitor.page()
        assert any("alembic.ini: no such file" in title for title in page)


@pytest.mark.parametrize("url", [POSTGRES], indirect=True)
async def test_the_page_of_an_unreachable_database_says_so(url: str) -> None:
    unreachable = "postgresql://nobody@127.0.0.1:1/shop"
    plugins: dict[str, Any] = {"console": {}, "pool": {"url": unreachable, "acquire_timeout": "100ms"}}
    app = create_app({"plugins": plugins, "server": {"operator_networks": ["127.0.0.1"]}}, app=APPLICATION)
    async with running(app) as state:
        page = await Visitor(app, state).page()
    assert "nothing listens at 127.0.0.1:1" in page
    assert any(title.startswith("Migrations are not known: ") for title in page)


async def test_nothing_is_recorded_without_the_console(url: str) -> None:
    async with visitor_of(url, console=False) as visitor:
        assert not visitor.app.context.has(RECORDS)
        assert visitor.app.context.get(DATABASE)._instrumentation._statements is None  # type: ignore[attr-defined]
