from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import (
    Column,
    ForeignKey,
    Integer,
    MetaData,
    Table,
    desc,
    exists,
    func,
    select,
    text,
)

from scalekit_pool.nested_select.builder import build_select
from tests.pool.nested_select.shop_schema import BADGES, DIALECTS, JOIN, POSTS, PROFILES, SETTINGS, USERS, built, sql


def test_only_the_named_columns_are_selected() -> None:
    for dialect in DIALECTS:
        query, shape = build_select(USERS, ["email", "id"])
        assert sql(query, dialect) == "SELECT users.email, users.id FROM users"
        assert shape([("a@b.c", 1)]) == [{"email": "a@b.c", "id": 1}]
        assert shape([]) == []


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


def test_an_alias_is_named_after_the_path_of_the_relation() -> None:
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


def test_an_object_that_is_no_table_is_refused() -> None:
    with pytest.raises(ValueError, match=r"select takes a sqlalchemy\.Table, got str"):
        build_select("users", ["id"])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_an_alias_of_another_table_is_not_taken_for_the_joined_one() -> None:
    with pytest.raises(ValueError, match="where uses 'author', which is not in the query"):
        built(POSTS, "author.id", "editor.id", where=BADGES.alias("author").c.user_id == 1)
    with pytest.raises(ValueError, match="where uses 'author', which is not in the query"):
        built(POSTS, "author.id", "editor.id", where=POSTS.alias("author").c.id == 1)
