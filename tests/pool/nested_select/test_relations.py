from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import (
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    Table,
    UniqueConstraint,
    text,
)

from scalekit_pool.nested_select.builder import build_select
from tests.pool.nested_select.shop_schema import JOIN, SHOP, USERS, built, sql


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


def test_a_name_of_two_relations_is_refused() -> None:
    metadata = MetaData()
    owners = Table("owners", metadata, Column("id", Integer, primary_key=True))
    keys: list[Column[Any]] = [Column(name, ForeignKey("owners.id"), unique=True) for name in ("first", "second")]
    Table("pets", metadata, Column("id", Integer, primary_key=True), *keys)
    message = r"relation 'pet' of table 'owners' is ambiguous, pets \(pets.first\) and pets \(pets.second\)"
    with pytest.raises(ValueError, match=message):
        build_select(owners, ["pet.id"])


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
