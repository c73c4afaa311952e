"""Queries that both databases run; each is made of the table ``things``."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from tests.pool.integration.core_schema import NOW, Listed, Mood

LOCAL = NOW.replace(tzinfo=None)


def recursion() -> Any:
    numbers = sa.select(sa.literal(1).label("n")).cte("numbers", recursive=True)
    numbers = numbers.union_all(sa.select(numbers.c.n + 1).where(numbers.c.n < 5))
    return sa.select(sa.func.sum(numbers.c.n))


def aliased(t: Any) -> Any:
    other = t.alias("other")
    return sa.select(t.c.id, other.c.id, other.c.json).join(other, other.c.id == t.c.id)


def nested_cte(t: Any) -> Any:
    found = sa.select(t.c.id, t.c.mood, t.c.json).where(t.c.id > 0).cte("found")
    return sa.select(found.c.mood, found.c.json["k"], found.c.id + 1)


QUERIES: dict[str, Callable[[Any], Any]] = {
    "a literal": lambda t: sa.select(sa.literal(1)),
    "literals of all types": lambda t: sa.select(
        *map(sa.literal, (1, 2**40, 1.5, "x", True, b"\x01", LOCAL, date(2024, 1, 1), time(1, 2)))
    ),
    "more literals": lambda t: sa.select(sa.literal(uuid.UUID(int=1)), sa.literal(None)),
    "literals of given types": lambda t: sa.select(
        sa.literal({"a": [1]}, sa.JSON), sa.literal(Mood.GLAD, t.c.mood.type), sa.literal(["p"], Listed)
    ),
    "the only column": lambda t: sa.select(t.c.name),
    "the whole table": lambda t: sa.select(t),
    "a sum of literals": lambda t: sa.select(sa.literal(1) + 2),
    "divisions": lambda t: sa.select(sa.literal(7) / 2, sa.literal(7) // 2, t.c.big % 7, -t.c.id),
    "a floor": lambda t: sa.select(sa.func.floor(t.c.ratio + 1.5), t.c.ratio // 2),
    "bits": lambda t: sa.select(t.c.id.bitwise_or(6), t.c.id.bitwise_and(1), t.c.id.bitwise_lshift(2), ~t.c.ok),
    "a sum with a column": lambda t: sa.select(t.c.id + 1, t.c.ratio + 1, t.c.big - 1),
    "a product of decimals": lambda t: sa.select(t.c.price * 2, t.c.price + Decimal("0.1"), t.c.exact * 2),
    "concatenation": lambda t: sa.select(t.c.name + "-x", sa.literal("a") + "b", t.c.name.concat("y")),
    "an index of json": lambda t: sa.select(t.c.json["k"], t.c.json["k"][0], t.c.json["k"][1]["x"]),
    "a value of json": lambda t: sa.select(t.c.json["f"].as_float(), t.c.json["ü"].as_string()),
    "a decimal of json": lambda t: sa.select(t.c.json["f"].as_numeric(5, 2)),
    "json as json": lambda t: sa.select(t.c.json["k"].as_json(), t.c.json["none"]),
    "a path of json": lambda t: sa.select(t.c.json[("k", 0)].as_integer(), t.c.json[("k", 1, "x")]),
    "a comparison within json": lambda t: sa.select(t.c.id).where(t.c.json["f"].as_float() > 1),
    "null of json": lambda t: sa.select(sa.literal(sa.JSON.NULL, sa.JSON), sa.literal(None, sa.JSON)),
    "case": lambda t: sa.select(
        sa.case((t.c.id > 1, "many"), else_="few"), sa.case({1: "one"}, value=t.c.id, else_="other")
    ),
    "coalesce": lambda t: sa.select(sa.func.coalesce(t.c.name, "none"), sa.func.coalesce(sa.null(), 5)),
    "nullif": lambda t: sa.select(sa.func.nullif(t.c.id, 1), sa.func.nullif(t.c.name, "x")),
    "in": lambda t: sa.select(t.c.id).where(t.c.id.in_([1, 2]), t.c.name.in_(["a%b:c"]), t.c.mood.in_([Mood.SAD])),
    "in a list of converted values": lambda t: sa.select(t.c.id).where(
        t.c.doubled.in_([4, 5]), t.c.day.in_([date(2024, 2, 29)]), t.c.key.in_([uuid.UUID(int=7)])
    ),
    "in a list of tuples": lambda t: sa.select(t.c.id).where(sa.tuple_(t.c.id, t.c.name).in_([(1, "a%b:c")])),
    "in a list of converted tuples": lambda t: sa.select(t.c.id).where(
        sa.tuple_(t.c.doubled, t.c.mood).in_([(4, Mood.SAD), (5, Mood.GLAD)])
    ),
    "in a subquery": lambda t: sa.select(t.c.id).where(t.c.id.in_(sa.select(t.c.id).where(t.c.ok))),
    "in an empty list": lambda t: sa.select(t.c.id).where(t.c.id.in_([]) | t.c.name.in_([])),
    "not in an empty list": lambda t: sa.select(t.c.id).where(t.c.id.not_in([])),
    "in a literal list": lambda t: sa.select(t.c.id).where(
        t.c.name.in_(sa.bindparam("names", ["it's", "a%b:c"], expanding=True, literal_execute=True))
    ),
    "a list beside a literal": lambda t: sa.select(
        sa.literal(3).in_([1, 3]), sa.bindparam("x", "it's \\ ?", literal_execute=True)
    ),
    "a literal limit": lambda t: sa.select(t.c.id).limit(sa.bindparam("n", 1, sa.Integer, literal_execute=True)),
    "between": lambda t: sa.select(t.c.id).where(
        t.c.price.between(1, 10),
        t.c.local.between(LOCAL - timedelta(1), LOCAL),
        t.c.day.between(date(2024, 1, 1), date(2025, 1, 1)),
    ),
    "like": lambda t: sa.select(t.c.id).where(
        t.c.name.like("a%"), t.c.name.ilike("A%"), t.c.name.contains("%", autoescape=True), t.c.name.startswith("a")
    ),
    "case-insensitive": lambda t: sa.select(t.c.id).where(t.c.name.icontains("B"), t.c.name.iendswith("C")),
    "a regular expression": lambda t: sa.select(t.c.name.regexp_match("^a.b"), t.c.name.regexp_match("x")),
    "extract": lambda t: sa.select(sa.extract("year", t.c.local), sa.extract("month", t.c.day)),
    "an enumeration": lambda t: sa.select(t.c.mood, t.c.state).where(t.c.mood == Mood.SAD, t.c.state == "new"),
    "a uuid": lambda t: sa.select(t.c.key, t.c.text_key).where(
        t.c.key == uuid.UUID(int=7), t.c.text_key == uuid.UUID(int=8)
    ),
    "numbers": lambda t: sa.select(t.c.price, t.c.ratio, t.c.weight, t.c.exact, t.c.big).where(
        t.c.price > Decimal("1.5")
    ),
    "sums and means": lambda t: sa.select(
        sa.func.sum(t.c.price), sa.func.avg(t.c.id), sa.func.sum(t.c.id), sa.func.count(), sa.func.max(t.c.local)
    ),
    "minima of converted types": lambda t: sa.select(
        sa.func.min(t.c.doubled), sa.func.max(t.c.day), sa.func.min(t.c.span)
    ),
    "casts": lambda t: sa.select(
        sa.cast(t.c.ratio, sa.Numeric(5, 3)), sa.cast(sa.literal("7"), sa.Integer), sa.cast(t.c.id, sa.String)
    ),
    "a coerced type": lambda t: sa.select(sa.type_coerce(t.c.json, sa.JSON)["k"], sa.type_coerce(t.c.name, Listed)),
    "bytes": lambda t: sa.select(t.c.data, sa.func.length(t.c.data)).where(t.c.data == b"\x00\xff"),
    "a pickle": lambda t: sa.select(t.c.pickled),
    "nothing": lambda t: sa.select(
        sa.null(), t.c.id.is_(None), t.c.name.is_distinct_from(None), sa.literal(None, sa.Integer)
    ),
    "null of a type": lambda t: sa.select(sa.null().label("a"), sa.literal(None, Listed), sa.cast(None, sa.Date)),
    "truth": lambda t: sa.select(t.c.ok, sa.true(), sa.not_(t.c.ok)).where(t.c.ok.is_(True)),
    "times": lambda t: sa.select(t.c.day, t.c.hour, t.c.local, t.c.span).where(t.c.day == date(2024, 2, 29)),
    "a time bound": lambda t: sa.select(t.c.id).where(
        t.c.hour >= time(12, 30), t.c.span == timedelta(days=1, seconds=5)
    ),
    "types of the application": lambda t: sa.select(t.c.doubled, t.c.listed).where(t.c.doubled == 4),
    "a type converted by the database": lambda t: sa.select(t.c.lowered).where(t.c.lowered == "LOUD"),
    "a scalar subquery": lambda t: sa.select(
        sa.select(sa.func.max(t.c.id)).scalar_subquery() + 1, sa.exists().where(t.c.id == 1)
    ),
    "a converted scalar subquery": lambda t: sa.select(
        sa.select(t.c.json).scalar_subquery(), sa.select(t.c.mood).scalar_subquery()
    ),
    "a correlated exists": lambda t: sa.select(t.c.id).where(
        sa.exists().where(t.alias("o").c.id == t.c.id).correlate(t)
    ),
    "a recursion": lambda t: recursion(),
    "a CTE": nested_cte,
    "an alias": aliased,
    "a window": lambda t: sa.select(
        sa.func.row_number().over(order_by=t.c.id), sa.func.lag(t.c.id, 1, 0).over(order_by=t.c.id)
    ),
    "a window with a frame": lambda t: sa.select(
        sa.func.sum(t.c.price).over(partition_by=t.c.ok, order_by=t.c.id, rows=(-1, 0)),
        sa.func.first_value(t.c.json, type_=sa.JSON).over(order_by=t.c.id),
    ),
    "filter and aggregate": lambda t: sa.select(sa.func.count().filter(t.c.id > 0), sa.func.count(t.c.name.distinct())),
    "aggregated texts": lambda t: sa.select(sa.func.aggregate_strings(t.c.name, "; ")),
    "groups": lambda t: sa.select(t.c.mood, sa.func.count()).group_by(t.c.mood).having(sa.func.count() > 0),
    "a union": lambda t: sa.union_all(sa.select(sa.literal(1)), sa.select(sa.literal(2))).order_by(sa.text("1")),
    "a union of types": lambda t: sa.union(
        sa.select(t.c.mood, t.c.doubled), sa.select(t.c.mood, t.c.doubled + 1)
    ).order_by(sa.text("2")),
    "an except": lambda t: sa.except_(sa.select(t.c.id), sa.select(sa.literal(7))),
    "limit and offset": lambda t: sa.select(t.c.id).order_by(t.c.id).limit(1).offset(0),
    "distinct and order": lambda t: sa.select(t.c.name).distinct().order_by(t.c.name.desc().nulls_last()),
    "a label": lambda t: sa.select(t.c.json.label("other"), (t.c.price + 1).label("price")).order_by("price"),
    "columns of one name": lambda t: sa.select(t.c.id, sa.literal("x").label("id"), t.c.mood.label("id")),
    "a bound parameter": lambda t: sa.select(sa.bindparam("given", 5), sa.bindparam("typed", "x", sa.String)),
    "a called parameter": lambda t: sa.select(t.c.id).where(t.c.id == sa.bindparam("x", callable_=lambda: 1)),
    "parameters set afterwards": lambda t: (
        sa.select(t.c.id).where(t.c.id == sa.bindparam("x", type_=sa.Integer)).params(x=1)
    ),
    "a text with columns": lambda t: (
        sa.text("SELECT id, json FROM things WHERE id = :id").columns(t.c.id, t.c.json).bindparams(id=1)
    ),
    "a text with columns by name": lambda t: sa.text("SELECT json, id, name FROM things").columns(
        id=sa.Integer, json=sa.JSON
    ),
    "a text with typed parameters": lambda t: (
        sa.text("SELECT mood, id FROM things WHERE day = :day AND id IN :ids")
        .columns(mood=t.c.mood.type)
        .bindparams(
            sa.bindparam("day", date(2024, 2, 29), sa.Date), sa.bindparam("ids", [1, 2], sa.Integer, expanding=True)
        )
    ),
    "a text": lambda t: sa.text("SELECT id, name FROM things WHERE name LIKE 'a%' AND id <> :n").bindparams(n=5),
    "a text as a subquery": lambda t: sa.select(
        sa.text("SELECT id, json FROM things").columns(t.c.id, t.c.json).subquery("s").c.json["k"]
    ),
    "a literal column": lambda t: sa.select(sa.literal_column("name, id"), t.c.mood).select_from(t),
    "a text among columns": lambda t: sa.select(sa.text("id, name"), t.c.json).select_from(t),
    "a star": lambda t: sa.select(sa.text("*")).select_from(sa.select(t.c.id, t.c.name).subquery()),
    "a star and a column": lambda t: sa.select(sa.literal_column("s.*"), t.c.json).select_from(
        t.join(sa.select(t.c.id, t.c.name).subquery("s"), sa.true())
    ),
    "a bare function": lambda t: sa.func.length("abc"),
    "a function with a type": lambda t: sa.select(sa.func.coalesce(t.c.json, sa.null(), type_=sa.JSON)),
    "current times": lambda t: sa.select(sa.func.current_date() > date(2000, 1, 1)),
    "a random name": lambda t: sa.select(
        sa.literal("x").label("a b"), sa.literal(2).label("%c"), sa.literal(3).label("d:e")
    ),
    "a comment and a hint": lambda t: sa.select(t.c.id).prefix_with("/* a $1 ? */").with_statement_hint("", "x"),
    "a table without metadata": lambda t: sa.select(sa.column("id"), sa.column("json", sa.JSON)).select_from(
        sa.table("things")
    ),
    "a tuple compared": lambda t: sa.select(t.c.id).where(sa.tuple_(t.c.id, t.c.name) == sa.tuple_(1, "a%b:c")),
    "a lambda": lambda t: sa.lambda_stmt(lambda: sa.select(t.c.id, t.c.json).where(t.c.id == 1)),
}
