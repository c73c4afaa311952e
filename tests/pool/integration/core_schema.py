"""The tables of the tests that compare Core expressions with SQLAlchemy's own engine."""

from __future__ import annotations

import enum
import uuid
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.dialects import postgresql as pg


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


class Listed(sa.types.TypeDecorator[list[str]]):
    """A list in one text; NULL is an empty list."""

    impl = sa.String(50)
    cache_ok = True

    def process_bind_param(self, value: list[str] | None, dialect: Any) -> str | None:
        return ",".join(value) if value else None

    def process_result_value(self, value: str | None, dialect: Any) -> list[str]:
        return value.split(",") if value else []


class Lowered(sa.types.UserDefinedType[str]):
    """A type that the database converts."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "VARCHAR(20)"

    def bind_expression(self, bindvalue: Any) -> Any:
        return sa.func.lower(bindvalue, type_=self)

    def column_expression(self, colexpr: Any) -> Any:
        return sa.func.upper(colexpr, type_=self)


class Point(sa.types.UserDefinedType[Any]):
    """A composite type of PostgreSQL."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "pair"


NOW = datetime(2024, 2, 29, 12, 30, 15, 123456, UTC)
ROW: dict[str, Any] = {
    "name": "a%b:c",
    "json": {"k": [1, {"x": None}], "f": 1.5, "ü": "é"},
    "price": Decimal("9.90"),
    "ratio": 0.25,
    "weight": 1.5,
    "exact": Decimal("2.5"),
    "local": NOW.replace(tzinfo=None),
    "day": date(2024, 2, 29),
    "hour": time(12, 30),
    "span": timedelta(days=1, seconds=5),
    "mood": Mood.SAD,
    "state": "new",
    "key": uuid.UUID(int=7),
    "data": b"\x00\xff",
    "big": 2**40,
    "ok": True,
    "doubled": 4,
    "listed": ["x", "y"],
    "lowered": "Loud",
    "pickled": {"a": (1, 2)},
    "text_key": uuid.UUID(int=8),
}
POSTGRES_ROW: dict[str, Any] = {
    **ROW,
    "jsonb": {"k": [1, 2, {"deep": "x"}], "n": 5, "s": "text", "b": True},
    "tags": ["one", "two"],
    "numbers": [3, 1, 2],
    "prices": [Decimal("1.5"), None],
    "moods": [Mood.GLAD, Mood.SAD],
    "documents": [{"a": 1}, [2]],
    "matrix": [[1, 2], [3, 4]],
    "created": NOW,
    "period": pg.Range(1, 5),
    "days": pg.Range(date(2024, 1, 1), None),
    "periods": [pg.Range(1, 3), pg.Range(7, 9)],
    "address": "10.0.0.1/32",
    "network": "10.0.0.0/8",
    "shouted": NOW,
    "bits": pg.BitString("101"),
    "vector": "'cat' 'sat'",
    "sum": "1.50",
    "pair": (1, "x"),
    "letters": "abc",
}


def things(*extra: sa.Column[Any]) -> sa.Table:
    """Return a table with a column of each type that both databases have, and the columns *extra*."""
    return sa.Table(
        "things",
        sa.MetaData(),
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(50)),
        sa.Column("json", sa.JSON),
        sa.Column("price", sa.Numeric(10, 2)),
        sa.Column("ratio", sa.Float),
        sa.Column("weight", sa.Numeric(asdecimal=False)),
        sa.Column("exact", sa.Float(asdecimal=True)),
        sa.Column("local", sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")),
        sa.Column("day", sa.Date),
        sa.Column("hour", sa.Time),
        sa.Column("span", sa.Interval),
        sa.Column("mood", sa.Enum(Mood, name="mood")),
        sa.Column("state", sa.Enum("new", "old", native_enum=False, length=5)),
        sa.Column("key", sa.Uuid),
        sa.Column("data", sa.LargeBinary),
        sa.Column("big", sa.BigInteger),
        sa.Column("ok", sa.Boolean),
        sa.Column("doubled", Doubled),
        sa.Column("listed", Listed),
        sa.Column("lowered", Lowered),
        sa.Column("pickled", sa.PickleType),
        sa.Column("text_key", sa.Uuid(native_uuid=False)),
        *extra,
    )


POSTGRES_THINGS = things(
    sa.Column("jsonb", pg.JSONB),
    sa.Column("tags", pg.ARRAY(sa.String)),
    sa.Column("numbers", sa.ARRAY(sa.Integer)),
    sa.Column("prices", pg.ARRAY(sa.Numeric(10, 2))),
    sa.Column("moods", pg.ARRAY(sa.Enum(Mood, name="mood"))),
    sa.Column("documents", pg.ARRAY(pg.JSONB)),
    sa.Column("matrix", pg.ARRAY(sa.Integer, dimensions=2)),
    sa.Column("created", sa.DateTime(timezone=True)),
    sa.Column("period", pg.INT4RANGE),
    sa.Column("days", pg.DATERANGE),
    sa.Column("periods", pg.INT4MULTIRANGE),
    sa.Column("address", pg.INET),
    sa.Column("network", pg.CIDR),
    sa.Column("shouted", Shouted),
    sa.Column("bits", pg.BIT(3)),
    sa.Column("vector", pg.TSVECTOR),
    sa.Column("sum", pg.MONEY),
    sa.Column("pair", Point),
    sa.Column("letters", pg.DOMAIN("letters", sa.String)),
)
SQLITE_THINGS = things()
MARIADB_THINGS = things()
SERIALS = count(1)


def slug(context: Any) -> str:
    """Return a default that depends on the other values of the row."""
    return f"{context.get_current_parameters()['name']}-slug"


def revised(context: Any) -> str:
    """Return a default of an update that depends on its values."""
    return f"{context.get_current_parameters().get('name')} revised"


DEFAULTS = sa.Table(
    "defaults",
    sa.MetaData(),
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(50)),
    sa.Column("odd key", sa.String(20), key="odd", default="o"),
    sa.Column("scalar", sa.Integer, default=7, onupdate=8),
    sa.Column("called", sa.Integer, default=lambda: 9),
    sa.Column("slug", sa.String(50), default=slug, onupdate=revised),
    sa.Column("sql", sa.Integer, default=sa.select(sa.literal(3) + 4).scalar_subquery()),
    sa.Column("upper", sa.String(50), default=sa.func.upper("x"), onupdate=sa.func.upper("y")),
    sa.Column("server", sa.Integer, server_default=sa.text("5")),
    sa.Column("document", sa.JSON, default=dict),
    sa.Column("doubled", Doubled, default=3),
    sa.Column("computed", sa.Integer, sa.Computed("scalar * 2", persisted=True)),
)
SEQUENCE = sa.Sequence("numbers_seq", start=10)
KEYED = sa.Table(
    "keyed",
    sa.MetaData(),
    sa.Column("id", sa.Uuid, primary_key=True, default=lambda: uuid.UUID(int=5)),
    sa.Column("name", sa.String(50)),
)
SEQUENCED = sa.Table(
    "sequenced",
    sa.MetaData(),
    sa.Column("id", sa.Integer, SEQUENCE, primary_key=True),
    sa.Column("other", sa.Integer, sa.Sequence("other_seq")),
    sa.Column("name", sa.String(50)),
)
SILENT = sa.Table(
    "silent",
    sa.MetaData(),
    sa.Column("id", sa.Integer, sa.Sequence("silent_seq"), primary_key=True),
    sa.Column("name", sa.String(50)),
    implicit_returning=False,
)
