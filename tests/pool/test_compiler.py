"""SQLAlchemy expressions return on PostgreSQL the same as SQLAlchemy's own asyncpg engine."""

from __future__ import annotations

import enum
import uuid
from collections.abc import AsyncGenerator, Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool
from sqlalchemy.schema import CreateColumn, CreateIndex, CreateTable, DropTable

from scalekit_pool.database import PooledDatabase
from tests.pool.harness import opened, wait_until_released

pytestmark = [pytest.mark.anyio, pytest.mark.needs("postgres")]


class Mood(enum.Enum):
    GLAD = "glad"
    SAD = "sad"


class Doubled(sa.types.TypeDecorator[int]):
    """A type of an application."""

    impl = sa.Integer
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Any) -> int | None:
        return None if value is None else value * 2

    def process_result_value(self, value: int | None, dialect: Any) -> int | None:
        return None if value is None else value // 2


class Shouted(sa.types.TypeDecorator[datetime]):
    """A type whose values the driver converts."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: datetime | None, dialect: Any) -> Any:
        return f"{value:%Y}!" if value else None


T = sa.Table(
    "things",
    sa.MetaData(),
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(50)),
    sa.Column("json", sa.JSON),
    sa.Column("jsonb", pg.JSONB),
    sa.Column("tags", pg.ARRAY(sa.String)),
    sa.Column("numbers", sa.ARRAY(sa.Integer)),
    sa.Column("price", sa.Numeric(10, 2)),
    sa.Column("ratio", sa.Float),
    sa.Column("weight", sa.Numeric(asdecimal=False)),
    sa.Column("exact", sa.Float(asdecimal=True)),
    sa.Column("created", sa.DateTime(timezone=True)),
    sa.Column("local", sa.DateTime),
    sa.Column("day", sa.Date),
    sa.Column("hour", sa.Time),
    sa.Column("span", sa.Interval),
    sa.Column("mood", sa.Enum(Mood, name="mood")),
    sa.Column("key", sa.Uuid),
    sa.Column("data", sa.LargeBinary),
    sa.Column("big", sa.BigInteger),
    sa.Column("ok", sa.Boolean),
    sa.Column("period", pg.INT4RANGE),
    sa.Column("address", pg.INET),
    sa.Column("doubled", Doubled),
    sa.Column("shouted", Shouted),
)
C = T.c
NOW = datetime(2024, 2, 29, 12, 30, 15, 123456, UTC)
ROW: dict[str, Any] = {
    "name": "a%b:c",
    "json": {"k": [1, {"x": None}], "f": 1.5},
    "jsonb": {"k": [1, 2, {"deep": "x"}], "n": 5, "s": "text", "b": True},
    "tags": ["one", "two"],
    "numbers": [3, 1, 2],
    "price": Decimal("9.90"),
    "ratio": 0.25,
    "weight": 1.5,
    "exact": Decimal("2.5"),
    "created": NOW,
    "local": NOW.replace(tzinfo=None),
    "day": date(2024, 2, 29),
    "hour": time(12, 30),
    "span": timedelta(days=1, seconds=5),
    "mood": Mood.SAD,
    "key": uuid.UUID(int=7),
    "data": b"\x00\xff",
    "big": 2**40,
    "ok": True,
    "period": pg.Range(1, 5),
    "address": "10.0.0.1/32",
    "doubled": 4,
    "shouted": NOW,
}
V = sa.values(sa.column("n", sa.Integer), sa.column("t", sa.String), name="v").data([(1, "a"), (2, "b"), (3, None)])
SERIES = sa.func.generate_series(1, 3).column_valued("value")

QUERIES: dict[str, Callable[[], Any]] = {
    "a literal": lambda: sa.select(sa.literal(1)),
    "literals of all types": lambda: sa.select(
        *map(sa.literal, (1, 2**40, 1.5, "x", True, b"\x01", Decimal("1.10"), NOW, date(2024, 1, 1), time(1, 2)))
    ),
    "more literals": lambda: sa.select(sa.literal(timedelta(hours=1)), sa.literal(uuid.UUID(int=1)), sa.literal(None)),
    "a sum of literals": lambda: sa.select(sa.literal(1) + 2),
    "divisions": lambda: sa.select(sa.literal(7) / 2, sa.literal(7) // 2, C.big % 7, -C.id),
    "a sum with a column": lambda: sa.select(C.id + 1, C.price * 2, C.ratio + 1, C.price * 1.5),
    "concatenation": lambda: sa.select(C.name + "-x", sa.literal("a") + "b"),
    "concat of a text and a number": lambda: sa.select(sa.func.concat("a", 1)),
    "an index of jsonb": lambda: sa.select(C.jsonb["k"][0]),
    "a key of jsonb": lambda: sa.select(C.jsonb["n"].as_integer(), C.jsonb["s"].as_string(), C.jsonb["b"].as_boolean()),
    "a path of jsonb": lambda: sa.select(C.jsonb[("k", "2", "deep")], C.jsonb[("k", 2, "deep")].astext),
    "astext": lambda: sa.select(C.jsonb["s"].astext, C.json["f"].as_float()),
    "json": lambda: sa.select(C.json, C.jsonb, C.json["k"][1]),
    "containment in jsonb": lambda: sa.select(C.id).where(C.jsonb.contains({"n": 5}), C.jsonb.has_key("s")),
    "a comparison within jsonb": lambda: sa.select(C.id).where(C.jsonb["n"].as_integer() > 4),
    "an array": lambda: sa.select(pg.array([1, 2])),
    "an array of texts": lambda: sa.select(pg.array(["a", "b"]) + pg.array(["c"])),
    "an element of an array": lambda: sa.select(C.numbers[1], C.tags[1:2]),
    "any and all": lambda: sa.select(C.id).where(sa.any_(C.numbers) == 3, C.tags.contains(["one"])),
    "any of a list": lambda: sa.select(C.id).where(C.id == sa.any_(sa.literal([1, 2], sa.ARRAY(sa.Integer)))),
    "unnest": lambda: sa.select(sa.func.unnest(pg.array([1, 2, 3]))),
    "array_agg": lambda: sa.select(sa.func.array_agg(C.id)),
    "an interval off now": lambda: sa.select(sa.func.now() - timedelta(days=1) < sa.func.now()),
    "an interval": lambda: sa.select(C.created - timedelta(days=1), C.created + C.span, C.local - C.local),
    "values": lambda: sa.select(V.c.n, V.c.t).order_by(V.c.n),
    "values joined": lambda: sa.select(C.id, V.c.t).join(V, V.c.n == C.id),
    "generate_series": lambda: sa.select(sa.func.generate_series(1, 3)),
    "generate_series as a table": lambda: sa.select(SERIES),
    "generate_series of days": lambda: sa.select(
        sa.func.generate_series(NOW, NOW + timedelta(days=1), timedelta(hours=12))
    ),
    "case": lambda: sa.select(sa.case((C.id > 1, "many"), else_="few"), sa.case({1: "one"}, value=C.id, else_="other")),
    "coalesce": lambda: sa.select(sa.func.coalesce(C.name, "none"), sa.func.coalesce(sa.null(), 5)),
    "nullif, greatest": lambda: sa.select(sa.func.nullif(C.id, 1), sa.func.greatest(C.id, 5)),
    "in": lambda: sa.select(C.id).where(C.id.in_([1, 2]), C.name.in_(["a%b:c"]), C.mood.in_([Mood.SAD])),
    "in a list of tuples": lambda: sa.select(C.id).where(sa.tuple_(C.id, C.name).in_([(1, "a%b:c")])),
    "not in an empty list": lambda: sa.select(C.id).where(C.id.not_in([])),
    "between": lambda: sa.select(C.id).where(C.price.between(1, 10), C.created.between(NOW - timedelta(1), NOW)),
    "like": lambda: sa.select(C.id).where(C.name.like("a%"), C.name.ilike("A%"), C.name.contains("%", autoescape=True)),
    "regular expressions": lambda: sa.select(C.name.regexp_match("^a"), C.name.regexp_replace("b", "x")),
    "date_trunc": lambda: sa.select(sa.func.date_trunc("hour", C.created), sa.func.date_trunc("day", C.local)),
    "extract": lambda: sa.select(sa.extract("year", C.created), sa.extract("epoch", C.span)),
    "an enumeration": lambda: sa.select(C.mood, sa.literal(Mood.GLAD, C.mood.type)).where(C.mood == Mood.SAD),
    "a uuid": lambda: sa.select(C.key).where(C.key == uuid.UUID(int=7)),
    "numbers": lambda: sa.select(C.price, C.ratio, C.weight, C.exact, C.big).where(C.price > Decimal("1.5")),
    "sums and means": lambda: sa.select(sa.func.sum(C.price), sa.func.avg(C.id), sa.func.sum(C.id), sa.func.count()),
    "round": lambda: sa.select(
        sa.func.round(C.price, 1), sa.cast(C.ratio, sa.Numeric(5, 3)), sa.cast(sa.literal("7"), sa.Integer)
    ),
    "bytes": lambda: sa.select(C.data, sa.func.length(C.data)).where(C.data == b"\x00\xff"),
    "nothing": lambda: sa.select(
        sa.null(), C.id.is_(None), C.name.is_distinct_from(None), sa.literal(None, sa.Integer)
    ),
    "ranges": lambda: sa.select(C.period, C.period.contains(3), C.period.overlaps(pg.Range(4, 9))),
    "a range": lambda: sa.select(sa.literal(pg.Range(1, 3), pg.INT4RANGE), sa.func.upper(C.period)),
    "an address": lambda: sa.select(C.address).where(C.address == "10.0.0.1"),
    "truth": lambda: sa.select(C.ok, sa.true(), sa.not_(C.ok)).where(C.ok.is_(True)),
    "times": lambda: sa.select(C.day, C.hour, C.created, C.local, C.span).where(C.day == date(2024, 2, 29)),
    "a type of the application": lambda: sa.select(C.doubled, C.shouted).where(C.doubled == 4),
    "a subquery": lambda: sa.select(sa.select(sa.func.max(C.id)).scalar_subquery() + 1, sa.exists().where(C.id == 1)),
    "a recursion": lambda: recursion(),
    "a window": lambda: sa.select(
        sa.func.row_number().over(order_by=C.id), sa.func.lag(C.id, 1, 0).over(order_by=C.id)
    ),
    "filter and aggregate": lambda: sa.select(sa.func.count().filter(C.id > 0), sa.func.string_agg(C.name, ",")),
    "a union": lambda: sa.union_all(sa.select(sa.literal(1)), sa.select(sa.literal(2))).order_by(sa.text("1")),
    "limit and offset": lambda: sa.select(C.id).order_by(C.id).limit(1).offset(0),
    "a label and a cast": lambda: sa.select(sa.type_coerce(C.json, sa.JSON)["k"], sa.cast(C.id, sa.String).label("s")),
    "to_tsvector": lambda: sa.select(
        sa.func.to_tsvector("english", "cats").op("@@")(sa.func.to_tsquery("english", "cat"))
    ),
    "json_build_object": lambda: sa.select(sa.func.json_build_object("a", C.id, "b", C.name, type_=sa.JSON)),
    "jsonb of values": lambda: sa.select(
        sa.func.jsonb_build_object("a", sa.literal(1), type_=pg.JSONB), sa.cast({"a": 1}, pg.JSONB)
    ),
    "a bound parameter": lambda: sa.select(sa.bindparam("given", 5), sa.bindparam("typed", "x", sa.String)),
    "a text with columns": lambda: (
        sa.text("SELECT id, jsonb FROM things WHERE id = :id").columns(C.id, C.jsonb).bindparams(id=1)
    ),
    "a bare function": lambda: sa.func.length("abc"),
}
CHANGES: dict[str, Callable[[], Any]] = {
    "an insert with expressions": lambda: (
        sa.insert(T)
        .values(
            id=2,
            name=sa.func.upper("x"),
            big=sa.literal(1) + 2,
            created=sa.func.now() - sa.func.now() + sa.literal(NOW),
        )
        .returning(C.id, C.name, C.big, C.created)
    ),
    "an insert of several rows": lambda: (
        sa.insert(T).values([{"id": 2, "name": "a"}, {"id": 3, "name": None}]).returning(C.id)
    ),
    "an insert from a select": lambda: (
        sa.insert(T)
        .from_select(["id", "name", "price"], sa.select(C.id + 10, sa.literal("y"), C.price + 1))
        .returning(C.id, C.name, C.price)
    ),
    "on conflict": lambda: upsert(),
    "on conflict do nothing": lambda: pg.insert(T).values(id=1, name="z").on_conflict_do_nothing().returning(C.id),
    "an update": lambda: (
        sa.update(T)
        .values(
            big=C.big + 1, jsonb=C.jsonb.concat({"z": 1}), tags=sa.func.array_append(C.tags, "three"), mood=Mood.GLAD
        )
        .where(C.id == 1)
        .returning(C.big, C.jsonb, C.tags, C.mood)
    ),
    "an update from values": lambda: sa.update(T).values(name=V.c.t).where(C.id == V.c.n).returning(C.name),
    "a delete": lambda: sa.delete(T).where(C.created < NOW + timedelta(1)).returning(C.id, C.key),
}


def recursion() -> Any:
    numbers = sa.select(sa.literal(1).label("n")).cte("numbers", recursive=True)
    numbers = numbers.union_all(sa.select(numbers.c.n + 1).where(numbers.c.n < 5))
    return sa.select(sa.func.sum(numbers.c.n))


def upsert() -> Any:
    statement = pg.insert(T).values(id=1, name="new", big=1)
    changes = {"name": sa.func.coalesce(statement.excluded.name, "none") + "!", "big": C.big + statement.excluded.big}
    return statement.on_conflict_do_update(index_elements=[C.id], set_=changes).returning(C.name, C.big)


@pytest.fixture
async def engine(postgres_url: str) -> AsyncGenerator[AsyncEngine, None]:
    engine = create_async_engine(postgres_url.replace("postgresql://", "postgresql+asyncpg://"), poolclass=NullPool)
    async with engine.begin() as connection:
        await connection.run_sync(T.metadata.create_all)
        await connection.execute(sa.insert(T).values(id=1, **ROW))
    yield engine
    await engine.dispose()


@pytest.fixture
async def database(engine: AsyncEngine, postgres_url: str) -> AsyncGenerator[PooledDatabase, None]:
    async with opened(postgres_url, max_size=2) as database:
        yield database
        await wait_until_released(database)


def shown(rows: Any) -> list[list[tuple[type, Any]]]:
    """Return the values with their types; asyncpg's UUID counts as Python's."""
    return [[(uuid.UUID if isinstance(value, uuid.UUID) else type(value), value) for value in row] for row in rows]


@pytest.mark.parametrize("name", QUERIES)
async def test_a_query_returns_the_rows_of_sqlalchemy(name: str, engine: AsyncEngine, database: PooledDatabase) -> None:
    async with engine.connect() as connection:
        expected = shown((await connection.execute(QUERIES[name]())).all())
    assert shown(await database.fetch_all(QUERIES[name]())) == expected
    assert shown(await database.fetch_all(QUERIES[name]())) == expected
    assert shown([row async for row in database.iterate(QUERIES[name]())]) == expected


@pytest.mark.parametrize("name", CHANGES)
async def test_a_write_has_the_effect_of_sqlalchemy(name: str, engine: AsyncEngine, database: PooledDatabase) -> None:
    async with engine.connect() as connection:
        expected = shown((await connection.execute(CHANGES[name]())).all())
        after = shown((await connection.execute(sa.select(T).order_by(C.id))).all())
        await connection.rollback()
    async with database.transaction(force_rollback=True):
        assert shown(await database.fetch_all(CHANGES[name]())) == expected
        assert shown(await database.fetch_all(sa.select(T).order_by(C.id))) == after
    await database.execute(CHANGES[name]())
    assert shown(await database.fetch_all(sa.select(T).order_by(C.id))) == after


async def test_insert_many_stores_the_same_values(engine: AsyncEngine, database: PooledDatabase) -> None:
    rows = [{"id": number, **ROW} for number in range(10, 30)]
    await database.insert_many(T, rows)
    await database.execute_many(sa.insert(T), [{"id": number, **ROW} for number in range(30, 32)])
    await database.insert_soon(T, {"id": 40, **ROW})
    found = shown(await database.fetch_all(sa.select(T).order_by(C.id)))
    assert len(found) == 24
    assert all(row[1:] == found[0][1:] for row in found)


async def test_the_same_query_is_compiled_once(database: PooledDatabase) -> None:
    for number in range(50):
        await database.fetch_all(sa.select(C.id + number).where(C.name == f"n{number}", C.big > number))
    assert len(database.compiler.expressions._cache) == 1
    assert len(database.compiler.expressions._analyzed) == 1


async def test_ddl_is_run(database: PooledDatabase) -> None:
    columns: list[sa.Column[Any]] = [sa.Column("id", sa.Integer, primary_key=True), sa.Column("a", sa.String(5))]
    created = sa.Table("created", sa.MetaData(), *columns)
    await database.execute(CreateTable(created))
    await database.execute(CreateTable(created, if_not_exists=True))
    await database.execute(CreateIndex(sa.Index("made_a", created.c.a)))
    ddl: Any = sa.DDL  # it has no types
    await database.execute(ddl("COMMENT ON TABLE created IS 'a 100%% sure: %(context)s'", context={"context": "x"}))
    assert await database.fetch_val("SELECT obj_description('created'::regclass)") == "a 100% sure: x"
    async with database.transaction(force_rollback=True):
        await database.execute(DropTable(created))
    await database.execute(sa.insert(created), {"id": 1, "a": "x"})
    await database.execute(DropTable(created, if_exists=True))
    assert await database.fetch_val("SELECT to_regclass('created') IS NULL")
    with pytest.raises(ValueError, match="DDL takes no values"):
        await database.execute(CreateTable(created), {"id": 1})


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (sa.literal(1) + 2, "wrap this .* in select"),
        (C.id, "wrap this .* in select"),
        (T, "wrap this .* in select"),
        (CreateColumn(C.name), "wrap this .* in select"),
        (5, "got int"),
    ],
)
async def test_a_query_that_is_no_statement_is_refused(database: PooledDatabase, part: Any, message: str) -> None:
    with pytest.raises(TypeError, match=f"a query must be SQL text or a SQLAlchemy statement: {message}"):
        await database.fetch_all(part)
