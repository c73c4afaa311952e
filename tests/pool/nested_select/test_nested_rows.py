from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import (
    Column,
    ForeignKey,
    Integer,
    MetaData,
    Table,
    Text,
)

from scalekit_pool.nested_select.builder import build_select
from tests.pool.nested_select.shop_schema import DIALECTS, built


def test_a_column_and_a_relation_of_the_same_name_are_not_selected_together() -> None:
    metadata = MetaData()
    Table("users", metadata, Column("id", Integer, primary_key=True))
    posts = Table("posts", metadata, Column("author", ForeignKey("users.id")))
    assert built(posts, "author") == "SELECT posts.author FROM posts"
    for columns in (["author", "author.id"], ["author.id", "author"]):
        with pytest.raises(ValueError, match="'author' is both a column and a relation of table 'posts'"):
            build_select(posts, columns)


def test_names_are_text_and_never_code() -> None:
    odd = "it's \"}]\\ {row[0]} __import__('os')\n"
    table = Table("odd", MetaData(), Column(odd, Text))
    assert build_select(table, [odd]).shape([("value",)]) == [{odd: "value"}]


# Every table has the columns id, text, and its keys; row numbers are ids.
Rows = list[dict[str, Any]]
TABLES = ("ants", "bees", "cats")


@st.composite
def worlds(draw: st.DrawFn) -> tuple[MetaData, dict[str, Rows], dict[tuple[str, str], tuple[str, str, str]]]:
    """Return tables, their rows, and relations: (table, name) maps to (related table, own column, related column)."""
    metadata, data = MetaData(), {}
    relations: dict[tuple[str, str], tuple[str, str, str]] = {}
    keys: dict[str, list[Column[Any]]] = {name: [] for name in TABLES}
    sizes = {name: draw(st.integers(0, 4)) for name in TABLES}
    for name in TABLES:
        rows: Rows = [{"id": n, "text": draw(st.none() | st.text("ab'", max_size=3))} for n in range(sizes[name])]
        for target in draw(st.lists(st.sampled_from(TABLES), max_size=3, unique=True)):
            unique = draw(st.booleans())
            column = f"to_{target}_id"
            references = st.none() | st.integers(0, sizes[target] - 1) if sizes[target] else st.none()
            values = draw(st.lists(references, min_size=len(rows), max_size=len(rows)))
            seen: set[int] = set()
            for row, value in zip(rows, values, strict=True):
                row[column] = None if unique and value in seen else value
                if value is not None:
                    seen.add(value)
            keys[name].append(Column(column, ForeignKey(f"{target}.id"), unique=unique))
            relations[name, f"to_{target}"] = (target, column, "id")
            if unique:
                relations[target, name] = (name, "id", column)
                relations[target, name[:-1]] = (name, "id", column)
        data[name] = rows
    for name in TABLES:
        Table(name, metadata, Column("id", Integer, primary_key=True), Column("text", Text), *keys[name])
    return metadata, data, relations


@st.composite
def questions(draw: st.DrawFn) -> tuple[Any, str, list[str]]:
    world = draw(worlds())
    relations = world[2]
    start = draw(st.sampled_from(TABLES))
    columns = []
    for _ in range(draw(st.integers(1, 5))):
        table = start
        path: list[str] = []
        while (
            (names := sorted(name for at, name in relations if at == table)) and len(path) < 3 and draw(st.booleans())
        ):
            path.append(draw(st.sampled_from(names)))
            table = relations[table, path[-1]][0]
        columns.append(".".join([*path, draw(st.sampled_from(("id", "text")))]))
    return world, start, columns


def modelled(world: Any, table: str, row: dict[str, Any], columns: list[str]) -> dict[str, Any]:
    """Return the result of following each path row by row."""
    _, data, relations = world
    found: dict[str, Any] = {}
    for column in columns:
        name, dot, _ = column.partition(".")
        if not dot:
            found[name] = row[name]
        elif name not in found:
            other, own, theirs = relations[table, name]
            related = [each for each in data[other] if row[own] is not None and each[theirs] == row[own]]
            inner = [each.partition(".")[2] for each in columns if each.startswith(f"{name}.")]
            found[name] = modelled(world, other, related[0], inner) if related else None
    return found


@given(questions())
def test_any_selection_equals_following_the_keys_row_by_row(question: tuple[Any, str, list[str]]) -> None:
    world, start, columns = question
    metadata, data, _ = world
    query, shape = build_select(metadata.tables[start], columns, order_by="id")
    with closing(sqlite3.connect(":memory:")) as connection:
        for name, rows in data.items():
            connection.execute(f"create table {name} ({', '.join(metadata.tables[name].c.keys())})")
            for row in rows:
                marks = ", ".join("?" * len(row))
                connection.execute(f"insert into {name} ({', '.join(row)}) values ({marks})", list(row.values()))
        got = shape(connection.execute(str(query.compile(dialect=DIALECTS["sqlite"]))).fetchall())
    connection.close()
    assert got == [modelled(world, start, row, columns) for row in data[start]]
    assert [list(each) for each in got] == [list(modelled(world, start, row, columns)) for row in data[start]]
