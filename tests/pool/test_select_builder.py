from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import (
    Column,
    Dialect,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    Select,
    Table,
    Text,
    UniqueConstraint,
    desc,
    exists,
    func,
    select,
    text,
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


def test_only_the_named_columns_are_selected() -> None:
    for dialect in DIALECTS:
        query, shape = build_select(USERS, ["email", "id"])
        assert sql(query, dialect) == "SELECT users.email, users.id FROM users"
        assert shape([("a@b.c", 1)]) == [{"email": "a@b.c", "id": 1}]
        assert shape([]) == []


def test_a_foreign_key_is_a_relation_named_after_its_column_without_id() -> None:
    query, shape = build_select(USERS, ["id", "profile.name", "email", "profile.avatar"])
    expected = (
        "SELECT users.id, users.email, profiles.name, profiles.avatar, profiles.id AS id_1 "
        f"FROM users {JOIN} profiles ON profiles.id = users.profile_id"
    )
    assert sql(query, "postgresql") == sql(query, "sqlite") == expected
    rows = [(1, "a", "Ada", None, 7), (2, "b", None, None, 8), (3, "c", None, None, None)]
    assert shape(rows) == [
        {"id": 1, "profile": {"name": "Ada", "avatar": None}, "email": "a"},
        {"id": 2, "profile": {"name": None, "avatar": None}, "email": "b"},
        {"id": 3, "profile": None, "email": "c"},
    ]
    assert list(shape(rows)[0]) == ["id", "profile", "email"]


@pytest.mark.parametrize(("table", "names"), [("settings", ("setting", "settings")), ("badges", ("badge", "badges"))])
def test_a_unique_foreign_key_of_another_table_is_a_relation_named_after_that(
    table: str, names: tuple[str, ...]
) -> None:
    other = SHOP.tables[table]
    column = next(key for key in ("theme", "colour") if key in other.c)
    for name in names:
        query, shape = build_select(USERS, ["id", f"{name}.{column}"])
        assert sql(query) == (
            f"SELECT users.id, {table}.{column}, {table}.user_id FROM users "
            f"{JOIN} {table} ON {table}.user_id = users.id"
        )
        assert shape([(1, None, 1), (2, None, None)]) == [{"id": 1, name: {column: None}}, {"id": 2, name: None}]


def test_a_table_joined_more_than_once_is_joined_under_the_names_of_its_relations() -> None:
    query, shape = build_select(POSTS, ["title", "author.email", "editor.id", "author.manager.email"])
    assert sql(query) == (
        "SELECT posts.title, author.email, author.id, editor.id AS id_1, "
        '"author.manager".email AS email_1, "author.manager".id AS id_2 FROM posts '
        f"{JOIN} users AS author ON author.id = posts.author_id "
        f"{JOIN} users AS editor ON editor.id = posts.editor_id "
        f'{JOIN} users AS "author.manager" ON "author.manager".id = author.manager_id'
    )
    assert shape([("t", "a", 1, None, None, None)]) == [
        {"title": "t", "author": {"email": "a", "manager": None}, "editor": None}
    ]


def test_a_relation_without_selected_columns_holds_nested_relations() -> None:
    query, shape = build_select(SETTINGS, ["user.profile.name"])
    assert sql(query) == (
        "SELECT users.id, profiles.name, profiles.id AS id_1 FROM settings "
        f"{JOIN} users ON users.id = settings.user_id "
        f"{JOIN} profiles ON profiles.id = users.profile_id"
    )
    assert shape([(1, "Ada", 2), (1, None, None), (None, None, None)]) == [
        {"user": {"profile": {"name": "Ada"}}},
        {"user": {"profile": None}},
        {"user": None},
    ]


def test_conditions_orders_and_limits_are_those_of_the_caller() -> None:
    query = build_select(
        USERS,
        ["id", "profile.name"],
        where=[PROFILES.c.name == "Ada", USERS.c.id > 3],
        order_by=(USERS.c.email.desc(), "profile.name"),
        limit=5,
        offset=10,
    ).query
    assert sql(query, "postgresql").partition(" WHERE ")[2] == (
        "profiles.name = $1::VARCHAR AND users.id > $2::INTEGER "
        "ORDER BY users.email DESC, profiles.name LIMIT $3::INTEGER OFFSET $4::INTEGER"
    )
    assert sql(query).partition(" WHERE ")[2] == (
        "profiles.name = ? AND users.id > ? ORDER BY users.email DESC, profiles.name LIMIT ? OFFSET ?"
    )
    assert built(USERS, "id", limit=0).endswith("LIMIT ? OFFSET ?")
    assert built(USERS, "id", where=[], order_by=[]) == "SELECT users.id FROM users"


def test_an_aliased_table_is_named_as_the_caller_spells_the_relation() -> None:
    found = built(
        POSTS,
        "id",
        "author.email",
        "author.manager.id",
        where=func.lower(USERS.alias("author").c.email) == "x",
        order_by=[USERS.alias("author.manager").c.id.desc(), "author.manager.email"],
    )
    assert found.partition(" WHERE ")[2] == (
        'lower(author.email) = ? ORDER BY "author.manager".id DESC, "author.manager".email'
    )


def test_an_alias_is_distinguished_from_a_table_of_the_same_name() -> None:
    nodes = Table("node", MetaData(), Column("id", Integer, primary_key=True), Column("node_id", ForeignKey("node.id")))
    assert built(nodes, "id", "node.id", where=nodes.alias("node_").c.id == 1) == (
        f"SELECT node.id, node_.id AS id_1 FROM node {JOIN} node AS node_ ON node_.id = node.node_id WHERE node_.id = ?"
    )


def test_what_needs_no_join_may_be_in_a_condition() -> None:
    inner = [exists().where(SETTINGS.c.user_id == USERS.c.id), USERS.c.id.in_(select(POSTS.c.author_id)), text("a = b")]
    assert built(USERS, "id", where=inner).endswith("IN (SELECT posts.author_id FROM posts) AND a = b")


def test_keys_of_several_columns_are_joined_by_all_of_them() -> None:
    metadata = MetaData()
    rooms = Table(
        "rooms", metadata, Column("house", Integer, primary_key=True), Column("no", Integer, primary_key=True)
    )
    key = ForeignKeyConstraint(["house", "no"], ["rooms.house", "rooms.no"])
    columns = [Column("id", Integer, primary_key=True), Column("house", Integer), Column("no", Integer)]
    boxes = Table("boxes", metadata, *columns, key, UniqueConstraint("house", "no"))
    assert built(boxes, "id", "room.no").endswith(f"{JOIN} rooms ON rooms.house = boxes.house AND rooms.no = boxes.no")
    assert built(rooms, "no", "box.id").endswith(f"{JOIN} boxes ON boxes.house = rooms.house AND boxes.no = rooms.no")


@pytest.mark.parametrize(
    ("extra", "one"),
    [
        ([UniqueConstraint("owner", "kind")], False),
        ([Index("i", "owner", unique=True)], True),
        ([Index("i", "owner")], False),
        ([Index("i", "owner", unique=True, postgresql_where=text("kind = 1"))], False),
        ([UniqueConstraint("kind")], False),
    ],
)
def test_a_table_that_may_have_many_rows_for_one_is_refused(extra: list[Any], one: bool) -> None:
    metadata = MetaData()
    owners = Table("owners", metadata, Column("id", Integer, primary_key=True))
    columns = [
        Column("id", Integer, primary_key=True),
        Column("owner", ForeignKey("owners.id")),
        Column("kind", Integer),
    ]
    Table("categories", metadata, *columns, *extra)
    if one:
        assert "categories.owner = owners.id" in built(owners, "category.kind")
        return
    message = "table 'owners' has many 'categories' per row: select from 'categories', or make categories.owner "
    for name in ("category", "categories"):
        with pytest.raises(ValueError, match=message):
            built(owners, f"{name}.kind")


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        (["emial"], {}, "table 'users' has no column 'emial': did you mean 'email'?"),
        (["profile.nam"], {}, "table 'profiles' has no column 'nam' (in 'profile.nam'): did you mean 'name'?"),
        (["profil.name"], {}, "table 'users' has no relation 'profil': did you mean 'profile'?"),
        (["setings.theme"], {}, "table 'users' has no relation 'setings': did you mean 'setting'?"),
        (["email.name"], {}, "table 'users' has no relation 'email': known: badge, manager, profile, setting"),
        (["profile"], {}, "'profile' is a relation of table 'users': name its columns, like 'profile.id'"),
        (["profile."], {}, "table 'profiles' has no column '' (in 'profile.'): known: avatar, id, name"),
        (["posts.id"], {}, "has many 'posts' per row: select from 'posts', or make posts."),
        ([], {}, "no columns of table 'users' selected: name those you need, like 'id'"),
        ([1], {}, "columns must be strings like 'id' or 'profile.name', got 1"),
        (["id"], {"where": PROFILES.c.id == 1}, "where uses 'profiles', which is not in the query (users): select a"),
        (["id"], {"order_by": desc(PROFILES.c.id)}, "order_by uses 'profiles', which is not in the query"),
        (
            ["id", "manager.id"],
            {"where": USERS.alias("boss").c.id == 1},
            "where uses 'boss', which is not in the query",
        ),
        (["id"], {"where": False}, "where takes SQLAlchemy expressions, got False"),
        (["id"], {"order_by": "profile.name"}, "'profile.name' belongs to no relation in the query: there are none"),
        (["id"], {"order_by": "idd"}, "'users' has no column 'idd': did you mean 'id'?"),
        (["id"], {"limit": -1}, "limit must be an integer >= 0, got -1"),
        (["id"], {"offset": "1"}, "offset must be an integer >= 0, got '1'"),
        (["id"], {"limit": True}, "limit must be an integer >= 0, got True"),
    ],
)
def test_an_invalid_argument_raises_an_error_with_the_remedy(
    columns: list[str], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is looked at
        build_select(USERS, columns, **options)
    assert message in str(caught.value)


def test_a_table_joined_twice_must_be_named_by_one_of_its_aliases() -> None:
    with pytest.raises(ValueError, match=r"'users', which occurs in the query more than once: use \.alias\('author'\)"):
        built(POSTS, "author.id", "editor.id", where=USERS.c.id == 1)


def test_what_is_no_table_is_refused() -> None:
    with pytest.raises(ValueError, match=r"select takes a sqlalchemy\.Table, got str"):
        build_select("users", ["id"])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_a_name_of_two_relations_is_refused() -> None:
    metadata = MetaData()
    owners = Table("owners", metadata, Column("id", Integer, primary_key=True))
    keys: list[Column[Any]] = [Column(name, ForeignKey("owners.id"), unique=True) for name in ("first", "second")]
    Table("pets", metadata, Column("id", Integer, primary_key=True), *keys)
    message = r"relation 'pet' of table 'owners' is ambiguous, pets \(pets.first\) and pets \(pets.second\)"
    with pytest.raises(ValueError, match=message):
        build_select(owners, ["pet.id"])


def test_a_column_and_a_relation_of_the_same_name_are_not_selected_together() -> None:
    metadata = MetaData()
    Table("users", metadata, Column("id", Integer, primary_key=True))
    posts = Table("posts", metadata, Column("author", ForeignKey("users.id")))
    assert built(posts, "author") == "SELECT posts.author FROM posts"
    for columns in (["author", "author.id"], ["author.id", "author"]):
        with pytest.raises(ValueError, match="'author' is both a column and a relation of table 'posts'"):
            build_select(posts, columns)


def test_a_foreign_key_to_a_table_that_is_not_declared_is_no_relation() -> None:
    posts = Table("posts", MetaData(), Column("id", Integer), Column("author_id", ForeignKey("users.id")))
    with pytest.raises(ValueError, match="table 'posts' has no relation 'author': there are none"):
        build_select(posts, ["author.id"])


def test_a_table_without_a_primary_key_may_have_many_rows_for_one() -> None:
    metadata = MetaData()
    owners = Table("owners", metadata, Column("id", Integer, primary_key=True))
    Table("pets", metadata, Column("owner_id", ForeignKey("owners.id")))
    with pytest.raises(ValueError, match="table 'owners' has many 'pets' per row"):
        build_select(owners, ["pet.owner_id"])


def test_a_foreign_key_of_the_table_comes_before_one_to_it() -> None:
    metadata = MetaData()
    users = Table("users", metadata, Column("id", Integer, primary_key=True), Column("pet_id", ForeignKey("pets.id")))
    owner: Column[Any] = Column("owner_id", ForeignKey("users.id"), unique=True)
    Table("pets", metadata, Column("id", Integer, primary_key=True), owner)
    assert built(users, "pet.id") == f"SELECT pets.id FROM users {JOIN} pets ON pets.id = users.pet_id"
    assert built(users, "pets.id").endswith(f"{JOIN} pets ON pets.owner_id = users.id")


def test_an_alias_of_another_table_is_not_taken_for_the_joined_one() -> None:
    with pytest.raises(ValueError, match="where uses 'author', which is not in the query"):
        built(POSTS, "author.id", "editor.id", where=BADGES.alias("author").c.user_id == 1)
    with pytest.raises(ValueError, match="where uses 'author', which is not in the query"):
        built(POSTS, "author.id", "editor.id", where=POSTS.alias("author").c.id == 1)


def test_names_are_text_and_never_code() -> None:
    odd = "it's \"}]\\ {row[0]} __import__('os')\n"
    table = Table("odd", MetaData(), Column(odd, Text))
    assert build_select(table, [odd]).shape([("value",)]) == [{odd: "value"}]


# Every table has the columns id, text, and its keys; row numbers are ids.
Rows = list[dict[str, Any]]
TABLES = ("ants", "bees", "cats")


@st.composite
def worlds(draw: st.DrawFn) -> tuple[MetaData, dict[str, Rows], dict[tuple[str, str], tuple[str, str, str]]]:
    """Return tables, their rows, and relations: (table, name) is (other table, own column, other's column)."""
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
    """Follow each path by itself, row by row."""
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
def test_any_selection_gives_what_following_the_keys_row_by_row_gives(question: tuple[Any, str, list[str]]) -> None:
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
