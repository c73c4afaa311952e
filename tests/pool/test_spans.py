"""A span for each statement, without values, and one for the wait for a connection."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from sqlalchemy import select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from scalekit import Unavailable
from scalekit_pool.database import PooledDatabase
from scalekit_pool.spans import summarize
from tests.pool.conftest import ORM, Open
from tests.recorded_spans import recorded_spans

pytestmark = pytest.mark.anyio

CREATE = "CREATE TABLE goods (id int, name text)"


class Model(DeclarativeBase):
    pass


class Article(Model):
    __tablename__ = "goods"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


@pytest.fixture
async def goods(database: PooledDatabase) -> PooledDatabase:
    await database.execute(CREATE)
    await database.execute_many("INSERT INTO goods VALUES (:id, 'a')", [{"id": number} for number in range(3)])
    return database


async def test_a_statement_has_its_text_and_rows_and_no_values(goods: PooledDatabase, url: str) -> None:
    with recorded_spans() as spans:
        await goods.fetch_all("SELECT id FROM goods WHERE name = 'a' AND id >= :least /* secret */", {"least": 1})
    (select,) = spans.all()
    assert (select.name, select.error) == ("SELECT goods", "")
    text = select.attributes.pop("db.query.text")
    assert text.startswith("SELECT id FROM goods WHERE name = ? AND id >= ")
    assert "secret" not in text
    assert select.attributes == {
        "db.system.name": url.partition(":")[0],
        "db.query.summary": "SELECT goods",
        "db.operation.name": "SELECT",
        "db.collection.name": "goods",
        "db.response.returned_rows": 2,
        "scalekit.pool": "primary",
    }


async def test_each_way_to_run_a_statement_is_recorded(goods: PooledDatabase, url: str) -> None:
    stream = ["SELECT goods"] if ":memory:" in url else ["BEGIN", "SELECT goods", "COMMIT"]
    with recorded_spans() as spans:
        await goods.fetch_one("SELECT * FROM goods")
        await goods.fetch_val("SELECT count(*) FROM goods")
        async for _ in goods.iterate("SELECT * FROM goods"):
            pass
        async with goods.transaction():
            await goods.execute("UPDATE goods SET name = :name", {"name": "b"})
            with contextlib.suppress(KeyError):
                async with goods.transaction():
                    raise KeyError
        await goods.execute_many("DELETE FROM goods WHERE id = :id", [{"id": 1}, {"id": 2}])
        await goods.insert_many("goods", [{"id": 1, "name": "c"}])
        await goods.insert_soon("goods", {"id": 2, "name": "d"})
    assert [each.name for each in spans.all() if each.name != "pool wait"] == [
        *("SELECT goods", "SELECT goods"),
        *stream,
        *("BEGIN", "UPDATE goods", "SAVEPOINT", "ROLLBACK", "COMMIT"),
        *("BEGIN", "DELETE goods", "COMMIT"),
        *("BEGIN", "INSERT goods", "COMMIT"),
        "INSERT goods",
    ]
    rows = [each.attributes["db.response.returned_rows"] for each in spans.all() if each.name == "SELECT goods"]
    assert rows == [1, 1, 3]
    assert all(type(each) is int for each in rows)


@pytest.mark.parametrize("url", ORM, indirect=True)
async def test_statements_of_sessions_are_recorded(goods: PooledDatabase, url: str) -> None:
    async with goods.sessions() as session:
        await session.scalar(select(Article.id))  # and the queries of the dialect about the server
    with recorded_spans() as spans:
        async with goods.sessions() as session:
            await session.scalars(select(Article))
            session.add(Article(id=7, name="secret"))
            await session.flush()
            async with session.begin_nested():
                await session.get(Article, 99)
            await session.commit()
    names = ["SELECT goods", "BEGIN", "INSERT goods", "SAVEPOINT", "SELECT goods", "RELEASE", "COMMIT"]
    assert [each.name for each in spans.all() if each.name != "pool wait"] == names
    selected = next(each for each in spans.all() if each.name == "SELECT goods")
    assert "secret" not in str([each.attributes for each in spans.all()])
    assert selected.attributes == {
        "db.system.name": url.partition(":")[0],
        "db.query.text": "SELECT goods.id, goods.name \nFROM goods",
        "db.query.summary": "SELECT goods",
        "db.operation.name": "SELECT",
        "db.collection.name": "goods",
        "db.response.returned_rows": 3,
        "scalekit.pool": "primary",
    }


async def test_a_stream_is_one_span(goods: PooledDatabase) -> None:
    await goods.insert_many("goods", [{"id": number, "name": "a"} for number in range(10, 1000)])
    with recorded_spans() as spans:
        async for _ in goods.iterate("SELECT id FROM goods"):
            pass
        async with contextlib.aclosing(goods.iterate("SELECT name FROM goods")) as rows:
            await anext(rows)
        with pytest.raises(Exception, match="missing"):
            async for _ in goods.iterate("SELECT missing FROM goods"):
                pass
    found = [each for each in spans.all() if each.name == "SELECT goods"]
    assert len(found) == 3
    assert [bool(each.error) for each in found] == [False, False, True]
    complete, begun, _ = (each.attributes["db.response.returned_rows"] for each in found)
    assert complete == 993
    assert begun > 0


async def test_a_failed_statement_has_the_type_of_its_error(goods: PooledDatabase) -> None:
    with recorded_spans() as spans, pytest.raises(Exception, match="missing"):
        await goods.fetch_all("SELECT missing FROM goods")
    assert spans["SELECT goods"].error


@pytest.mark.parametrize(
    ("sql", "summary"),
    [
        ("CREATE TABLE IF NOT EXISTS goods (id int)", "CREATE goods"),
        ("drop table if exists goods", "DROP goods"),
        ("SELECT * FROM ONLY goods", "SELECT goods"),
        ("COMMIT", "COMMIT"),
        ("", "SQL"),
    ],
)
def test_summaries(sql: str, summary: str) -> None:
    assert summarize(sql, "postgresql").summary == summary


async def test_the_wait_for_a_connection_is_a_span_before_that_of_the_statement(open_database: Open) -> None:
    async with open_database(max_size=1) as database:
        await database.execute(CREATE)
        held = asyncio.Event()

        async def hold() -> None:
            async with database.transaction():
                await database.execute("UPDATE goods SET name = 'b'")
                held.set()
                await asyncio.sleep(0.05)

        holder = asyncio.create_task(hold())
        await held.wait()
        with recorded_spans() as spans:
            await database.execute("UPDATE goods SET name = 'c'")
        await holder
    wait, update = spans["pool wait"], spans["UPDATE goods"]
    assert wait.attributes == {"scalekit.pool": "primary"}
    assert wait.began_ns < wait.ended_ns <= update.began_ns, "the statement begins when it has a connection"


async def test_a_wait_without_success_is_recorded(open_database: Open) -> None:
    async with open_database(max_size=1, acquire_timeout="20ms") as database, database.transaction():
        await database.execute(CREATE)
        with recorded_spans() as spans, pytest.raises(Unavailable):
            await asyncio.create_task(other_transaction(database))
    assert "pool wait" in spans.names()


async def other_transaction(database: PooledDatabase) -> None:
    async with database.transaction():
        pass
