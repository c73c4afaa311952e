"""Writes; the first table is ``things`` of one of the databases."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, sqlite
from sqlalchemy.dialects import postgresql as pg

from tests.pool.integration.core_postgres import V
from tests.pool.integration.core_schema import (
    DEFAULTS,
    KEYED,
    MARIADB_THINGS,
    NOW,
    POSTGRES_THINGS,
    SEQUENCED,
    SILENT,
    SQLITE_THINGS,
    Mood,
)

D = DEFAULTS.c
C = POSTGRES_THINGS.c
T = POSTGRES_THINGS


def upsert(insert: Any) -> Any:
    table = insert.table
    statement = insert.values(id=1, name="new", big=1)
    changes = {
        "name": sa.func.coalesce(statement.excluded.name, "none") + "!",
        "big": table.c.big + statement.excluded.big,
    }
    return statement.on_conflict_do_update(index_elements=[table.c.id], set_=changes).returning(
        table.c.name, table.c.big, table.c.json
    )


def conditional_upsert(insert: Any) -> Any:
    statement = insert.values([{"id": 1, "name": "p", "listed": ["z"]}, {"id": 5, "name": "q", "listed": None}])
    table = insert.table
    return statement.on_conflict_do_update(
        index_elements=["id"],
        set_={"listed": statement.excluded.listed, "mood": Mood.GLAD},
        where=table.c.doubled == 4,
    ).returning(table.c.id, table.c.listed, table.c.mood)


CHANGES: dict[str, Callable[[Any], Any]] = {
    "an insert with expressions": lambda t: (
        sa.insert(t).values(id=2, name=sa.func.upper("x"), big=sa.literal(1) + 2).returning(t.c.id, t.c.name, t.c.big)
    ),
    "an insert of converted values": lambda t: (
        sa.insert(t)
        .values(id=2, mood=Mood.GLAD, doubled=3, listed=["a"], lowered="LOW", json=[1], text_key=uuid.UUID(int=3))
        .returning(t)
    ),
    "an insert of null": lambda t: (
        sa.insert(t).values(id=2, json=None, listed=None, mood=None, name=sa.null()).returning(t)
    ),
    "an insert of JSON null": lambda t: sa.insert(t).values(id=2, json=sa.JSON.NULL).returning(t.c.json.is_(None)),
    "an insert of several rows": lambda t: (
        sa.insert(t)
        .values([{"id": 2, "name": "a", "mood": Mood.SAD}, {"id": 3, "name": None, "mood": None}])
        .returning(t.c.id, t.c.mood)
    ),
    "an insert by position": lambda t: sa.insert(t).values((7, "seventh", {"a": 1})).returning(t.c.id, t.c.json),
    "an insert without a key": lambda t: sa.insert(DEFAULTS).values(name="n").returning(D.name, D.scalar, D.slug),
    "an insert without RETURNING": lambda t: sa.insert(t).values(id=9, name="nine"),
    "an insert from a select": lambda t: (
        sa.insert(t)
        .from_select(["id", "name", "price"], sa.select(t.c.id + 10, sa.literal("y"), t.c.price + 1))
        .returning(t.c.id, t.c.name, t.c.price)
    ),
    "an insert from a select with defaults": lambda t: (
        sa.insert(DEFAULTS)
        .from_select(["name", "slug"], sa.select(t.c.name, t.c.name))
        .returning(D.name, D.odd, D.scalar, D.called, D.upper)
    ),
    "defaults": lambda t: sa.insert(DEFAULTS).values(name="n").returning(*[each for each in D if each.key != "id"]),
    "defaults of several rows": lambda t: (
        sa.insert(DEFAULTS)
        .values([{"name": "a"}, {"name": "b"}, {"name": "c"}])
        .returning(*[each for each in D if each.key != "id"])
    ),
    "defaults overridden": lambda t: (
        sa.insert(DEFAULTS)
        .values(name="n", scalar=1, slug="s", odd=None)
        .returning(D.odd, D.scalar, D.slug, D.computed)
    ),
    "only defaults": lambda t: sa.insert(KEYED).returning(KEYED),
    "a default key": lambda t: sa.insert(KEYED).values(name="k"),
    "defaults of an update": lambda t: (
        sa.update(DEFAULTS).values(name="changed").where(D.name == "first").returning(D.scalar, D.slug, D.upper, D.odd)
    ),
    "an update": lambda t: (
        sa.update(t)
        .values(big=t.c.big + 1, mood=Mood.GLAD, listed=["q"], json={"z": 1}, doubled=t.c.doubled + 1)
        .where(t.c.id == 1)
        .returning(t.c.big, t.c.json, t.c.mood, t.c.listed, t.c.doubled)
    ),
    "an update by a subquery": lambda t: (
        sa.update(t)
        .values(name=sa.select(sa.func.max(D.name)).scalar_subquery())
        .where(t.c.id.in_(sa.select(D.id)))
        .returning(t.c.name)
    ),
    "an update from another table": lambda t: (
        sa.update(t).values(name=D.name).where(D.id == t.c.id, D.name == "first").returning(t.c.name)
    ),
    "an ordered update": lambda t: (
        sa.update(t).ordered_values((t.c.name, "o"), (t.c.big, t.c.id + 1)).returning(t.c.name, t.c.big)
    ),
    "an update in a list": lambda t: sa.update(t).values(big=0).where(t.c.id.in_([1, 2, 3])).returning(t.c.id, t.c.big),
    "a case in an update": lambda t: (
        sa.update(t).values(name=sa.case({1: "one", 2: "two"}, value=t.c.id, else_=t.c.name)).returning(t.c.name)
    ),
    "a delete": lambda t: (
        sa.delete(t).where(t.c.local < NOW.replace(tzinfo=None) + timedelta(1)).returning(t.c.id, t.c.key, t.c.mood)
    ),
    "a delete in a subquery": lambda t: (
        sa.delete(t).where(t.c.id.in_(sa.select(D.id).where(D.name == "first"))).returning(t.c.id)
    ),
}
POSTGRES_CHANGES: dict[str, Callable[[], Any]] = {
    "on conflict": lambda: upsert(pg.insert(T)),
    "on conflict with a condition": lambda: conditional_upsert(pg.insert(T)),
    "on conflict of a constraint": lambda: (
        pg.insert(T).values(id=1, name="z").on_conflict_do_update(constraint=T.primary_key, set_={"tags": ["c"]})
    ).returning(C.tags),
    "on conflict do nothing": lambda: pg.insert(T).values(id=1, name="z").on_conflict_do_nothing().returning(C.id),
    "an insert of PostgreSQL's types": lambda: (
        sa.insert(T)
        .values(
            id=2,
            jsonb=[1],
            tags=["x"],
            moods=[Mood.SAD, None],
            documents=[None, {"b": 2}],
            prices=[Decimal(2)],
            period=pg.Range(5, 6),
            periods=[pg.Range(1, 2)],
            pair=(3, "c"),
            bits=pg.BitString("010"),
            address="::1",
            created=sa.func.now() - sa.func.now() + sa.literal(NOW),
        )
        .returning(T)
    ),
    "an update of JSON": lambda: (
        sa.update(T)
        .values(
            {
                C.jsonb: sa.func.jsonb_set(C.jsonb.concat({"z": 1}), pg.array(["y"]), sa.cast("v", pg.JSONB)),
                C.tags: sa.func.array_append(C.tags, "three"),
                C.numbers: C.numbers.concat([9]),
            }
        )
        .returning(C.jsonb, C.tags, C.numbers)
    ),
    "an update of an element": lambda: (
        sa.update(T).values({C.jsonb["n"]: sa.cast(7, pg.JSONB), C.numbers[1]: 8}).returning(C.jsonb, C.numbers)
    ),
    "an update from values": lambda: sa.update(T).values(name=V.c.t).where(C.id == V.c.n).returning(C.name),
    "a delete using another table": lambda: sa.delete(T).where(C.id == D.id, D.name == "first").returning(C.id),
    "a delete in a CTE": lambda: moved(),
    "an insert in a CTE": lambda: inserted(),
    "sequences": lambda: sa.insert(SEQUENCED).values(name="s").returning(SEQUENCED.c.id > 0, SEQUENCED.c.other > 0),
    "sequences of several rows": lambda: (
        sa.insert(SEQUENCED).values([{"name": "s"}, {"name": "t"}]).returning(SEQUENCED.c.id > 0, SEQUENCED.c.other > 0)
    ),
    "a sequence without RETURNING": lambda: sa.insert(SILENT).values(name="s"),
    "an insert of the server's default": lambda: (
        sa.insert(DEFAULTS).values(name="x", server=sa.text("DEFAULT")).returning(D.server)
    ),
}
SQLITE_CHANGES: dict[str, Callable[[], Any]] = {
    "on conflict": lambda: upsert(sqlite.insert(SQLITE_THINGS)),
    "on conflict with a condition": lambda: conditional_upsert(sqlite.insert(SQLITE_THINGS)),
    "on conflict do nothing": lambda: (
        sqlite.insert(SQLITE_THINGS).values(id=1, name="z").on_conflict_do_nothing().returning(SQLITE_THINGS.c.id)
    ),
    "or replace": lambda: sa.insert(SQLITE_THINGS).prefix_with("OR REPLACE").values(id=1, name="z"),
    "an insert without RETURNING support": lambda: sa.insert(SILENT).values(id=3, name="s"),
}


MARIADB_CHANGES: dict[str, Callable[[], Any]] = {
    "on duplicate key": lambda: on_duplicate_key(mysql.insert(MARIADB_THINGS)),
    "ignore": lambda: sa.insert(MARIADB_THINGS).prefix_with("IGNORE").values(id=1, name="z"),
    "sequences": lambda: sa.insert(SEQUENCED).values(name="s").returning(SEQUENCED.c.id > 0, SEQUENCED.c.other > 0),
    "a sequence without RETURNING": lambda: sa.insert(SILENT).values(name="s"),
    "a limited update": lambda: sa.update(MARIADB_THINGS).values(big=5).with_dialect_options(mysql_limit=1),
}


def on_duplicate_key(insert: Any) -> Any:
    statement = insert.values([{"id": 1, "name": "new", "big": 1}, {"id": 5, "name": None, "big": 2}])
    return statement.on_duplicate_key_update(
        name=sa.func.coalesce(statement.inserted.name, "none"), big=insert.table.c.big + statement.inserted.big
    ).returning(insert.table.c.id, insert.table.c.name, insert.table.c.big, insert.table.c.json)


def moved() -> Any:
    gone = sa.delete(T).where(C.id == 1).returning(C.id, C.jsonb, C.mood).cte("gone")
    return sa.select(gone.c.id, gone.c.jsonb, gone.c.mood)


def inserted() -> Any:
    new = sa.insert(T).values(id=20, name="n", jsonb={"a": 1}).returning(C.id, C.jsonb).cte("new")
    return sa.select(new.c.id + 1, new.c.jsonb["a"].as_integer())
