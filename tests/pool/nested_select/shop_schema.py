"""The tables of the tests of nested selects, and the SQL text of a selection."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    Column,
    Dialect,
    ForeignKey,
    Integer,
    MetaData,
    Select,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.dialects.sqlite.base import SQLiteDialect

from scalekit_pool.nested_select.builder import build_select

SHOP = MetaData()
PROFILES = Table(
    "profiles", SHOP, Column("id", Integer, primary_key=True), Column("name", Text), Column("avatar", Text)
)
USERS = Table(
    "users",
    SHOP,
    Column("id", Integer, primary_key=True),
    Column("email", Text),
    Column("profile_id", ForeignKey("profiles.id")),
    Column("manager_id", ForeignKey("users.id")),
)
SETTINGS = Table(
    "settings",
    SHOP,
    Column("id", Integer, primary_key=True),
    Column("user_id", ForeignKey("users.id"), unique=True),
    Column("theme", Text),
)
BADGES = Table("badges", SHOP, Column("user_id", ForeignKey("users.id"), primary_key=True), Column("colour", Text))
POSTS = Table(
    "posts",
    SHOP,
    Column("id", Integer, primary_key=True),
    Column("title", Text),
    Column("author_id", ForeignKey("users.id")),
    Column("editor_id", ForeignKey("users.id")),
)
DIALECTS: dict[str, Dialect] = {
    "postgresql": PGDialect_asyncpg(),  # type: ignore[no-untyped-call]
    "sqlite": SQLiteDialect(),
}
JOIN = "LEFT OUTER JOIN"


def sql(query: Select[Any], dialect: str = "sqlite") -> str:
    return " ".join(str(query.compile(dialect=DIALECTS[dialect])).split())


def built(table: Table, *columns: str, **options: Any) -> str:
    return sql(build_select(table, columns, **options).query)
