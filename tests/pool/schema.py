"""The tables of the tests of the pool."""

from __future__ import annotations

import enum
from datetime import datetime
from itertools import count
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.schema import CreateTable

from scalekit_pool.database import PooledDatabase

INSERT = "INSERT INTO items (id, name) VALUES (:id, :name)"
METADATA = sa.MetaData()
SERIALS = count(1)


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


ITEMS = sa.Table(
    "items",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(50), nullable=False, unique=True),
    sa.Column("data", sa.JSON),
    sa.Column("made", sa.DateTime),
    sa.Column("colour", sa.Enum(Colour, native_enum=False)),
    sa.Column("price", sa.Numeric(10, 2)),
    sa.Column("serial", sa.Integer, default=lambda: next(SERIALS)),
    sa.Column("state", sa.String(10), default="new", onupdate="changed"),
)
PARENTS = sa.Table("parents", METADATA, sa.Column("id", sa.Integer, primary_key=True))
CHILDREN = sa.Table(
    "children",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("parent", sa.ForeignKey("parents.id", deferrable=True, initially="DEFERRED")),
)

DEFERRED = " DEFERRABLE INITIALLY DEFERRED"
"""A constraint that MySQL does not have."""
DUPLICATE = r"(?i)unique|duplicate"
"""What the errors of duplicate keys say."""
MADE = datetime(2024, 2, 29, 12, 30, 15)


async def create(database: PooledDatabase, *tables: sa.Table) -> None:
    dialect: Any = {"sqlite": sqlite.dialect, "postgresql": postgresql.dialect, "mysql": mysql.dialect}[
        database.dialect
    ]()
    for table in tables:
        text = str(CreateTable(table).compile(dialect=dialect))
        await database.execute(text.replace(DEFERRED, "") if database.dialect == "mysql" else text)


async def names(database: Any) -> list[str]:
    return [row.name for row in await database.fetch_all("SELECT name FROM items ORDER BY name")]


def numbered(*numbers: int) -> list[dict[str, Any]]:
    return [{"id": number, "name": f"n{number}"} for number in numbers]


async def put(database: Any, *added: str) -> None:
    for name in added:
        await database.execute(INSERT, {"id": ord(name[0]), "name": name})
