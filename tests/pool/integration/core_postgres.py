"""Queries of PostgreSQL's own types and functions; each is made of the table ``things``."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from tests.pool.integration.core_schema import NOW, POSTGRES_THINGS, SEQUENCE, Mood

C = POSTGRES_THINGS.c
T = POSTGRES_THINGS
V = sa.values(sa.column("n", sa.Integer), sa.column("t", sa.String), name="v").data([(1, "a"), (2, "b"), (3, None)])
UNTYPED: Any = pg
MORE = [pg.Range(20, 21)]
SERIES = sa.func.generate_series(1, 3).column_valued("value")
ROWS = sa.func.json_each(sa.cast({"a": 1, "b": [2]}, sa.JSON)).table_valued(
    sa.column("key"), sa.column("value", sa.JSON)
)
NUMBERED = (
    sa.func.unnest(pg.array(["a", "b"]))
    .table_valued("name", with_ordinality="place", joins_implicitly=True)
    .render_derived()
)
RECORDS = (
    sa.func.jsonb_to_recordset(sa.cast([{"a": 1, "b": "x"}], pg.JSONB))
    .table_valued(sa.column("a", sa.Integer), sa.column("b", sa.Text))
    .render_derived(with_types=True)
)


def lateral() -> Any:
    tag = sa.select(sa.func.unnest(C.tags).label("tag")).lateral("tag")
    return sa.select(C.id, tag.c.tag).join(tag, sa.true()).order_by(tag.c.tag)


def materialized() -> Any:
    found = sa.select(C.id, C.jsonb).cte("found")
    return sa.select(found.c.jsonb["n"].as_integer()).select_from(found)


POSTGRES_QUERIES: dict[str, Callable[[], Any]] = {
    "an outer join": lambda: sa.select(C.id, V.c.t).select_from(V.outerjoin(T, C.id == V.c.n)).order_by(V.c.n),
    "values": lambda: sa.select(V.c.n, V.c.t).order_by(V.c.n),
    "values joined": lambda: sa.select(C.id, V.c.t).join(V, V.c.n == C.id),
    "literal values": lambda: sa.select(
        sa.values(sa.column("a", sa.Integer), name="w", literal_binds=True).data([(1,), (2,)])
    ).order_by("a"),
    "literals": lambda: sa.select(
        sa.literal(Decimal("1.10")), sa.literal(NOW), sa.literal(timedelta(hours=1)), sa.literal(time(1, 2, tzinfo=UTC))
    ),
    "concat of a text and a number": lambda: sa.select(sa.func.concat("a", 1)),
    "a product": lambda: sa.select(C.price * 1.5, C.price / 3, C.ratio * 2, C.weight / 4),
    "an index of jsonb": lambda: sa.select(C.jsonb["k"][0], C.jsonb["k"], C.jsonb["none"]),
    "a key of jsonb": lambda: sa.select(C.jsonb["n"].as_integer(), C.jsonb["s"].as_string(), C.jsonb["b"].as_boolean()),
    "a path of jsonb": lambda: sa.select(C.jsonb[("k", "2", "deep")], C.jsonb[("k", 2, "deep")].astext),
    "astext": lambda: sa.select(C.jsonb["s"].astext, C.json["f"].as_float()),
    "containment in jsonb": lambda: sa.select(C.id).where(
        C.jsonb.contains({"n": 5}),
        C.jsonb.has_key("s"),
        C.jsonb.has_any(pg.array(["s", "z"])),
        C.jsonb.has_all(pg.array(["s"])),
    ),
    "containment by jsonb": lambda: sa.select(C.jsonb["n"].contained_by([5, 6])),
    "jsonb paths": lambda: sa.select(
        C.jsonb.path_exists("$.k[*] ? (@ > 1)"),
        C.jsonb.path_match("$.n == 5"),
        sa.func.jsonb_path_query_first(C.jsonb, sa.cast("$.n", pg.JSONPATH), type_=pg.JSONB),
        sa.func.jsonb_path_query_array(C.jsonb, sa.cast("$.k[*]", pg.JSONPATH), type_=pg.JSONB),
    ),
    "jsonb without a key": lambda: sa.select(
        C.jsonb.op("-", return_type=pg.JSONB())("k"), C.jsonb.delete_path(["k", "0"]), C.jsonb.concat({"z": None})
    ),
    "jsonb_set": lambda: sa.select(
        sa.func.jsonb_set(C.jsonb, pg.array(["n"]), sa.cast(6, pg.JSONB), type_=pg.JSONB),
        sa.func.jsonb_set(C.jsonb, ["k"], sa.literal({"a": 1}, pg.JSONB), True, type_=pg.JSONB),
    ),
    "a comparison within jsonb": lambda: sa.select(C.id).where(
        C.jsonb["n"].as_integer() > 4, C.jsonb["s"].as_string() == "text"
    ),
    "a record set of jsonb": lambda: sa.select(RECORDS.c.a, RECORDS.c.b),
    "each of json": lambda: sa.select(ROWS.c.key, ROWS.c.value),
    "an array": lambda: sa.select(pg.array([1, 2]), pg.array([C.id, 5])),
    "an empty array": lambda: sa.select(sa.literal([], pg.ARRAY(sa.Integer)), pg.array([], type_=sa.Text)),
    "an array of texts": lambda: sa.select(pg.array(["a", "b"]) + pg.array(["c"])),
    "an array of arrays": lambda: sa.select(pg.array([pg.array([1, 2]), pg.array([3, 4])]), C.matrix, C.matrix[1][2]),
    "arrays of converted values": lambda: sa.select(C.moods, C.prices, C.documents, pg.array([Decimal("1.5")])),
    "an element of an array": lambda: sa.select(C.numbers[1], C.tags[1:2], C.moods[1], C.documents[1], C.prices[1]),
    "any and all": lambda: sa.select(C.id).where(
        sa.any_(C.numbers) == 3, C.tags.contains(["one"]), C.tags.overlap(["one", "z"]), sa.all_(C.numbers) > 0
    ),
    "any of converted values": lambda: sa.select(C.id).where(
        sa.any_(C.moods) == Mood.GLAD, C.moods.contains([Mood.SAD]), sa.any_(C.prices) == Decimal("1.5")
    ),
    "any of a list": lambda: sa.select(C.id).where(C.id == sa.any_(sa.literal([1, 2], sa.ARRAY(sa.Integer)))),
    "unnest": lambda: sa.select(sa.func.unnest(pg.array([1, 2, 3]))),
    "unnest with ordinality": lambda: sa.select(NUMBERED.c.name, NUMBERED.c.place),
    "array_agg": lambda: sa.select(sa.func.array_agg(C.id), sa.func.array_agg(C.mood), sa.func.array_agg(C.jsonb)),
    "array_agg in order": lambda: sa.select(sa.func.array_agg(pg.aggregate_order_by(C.name, C.id.desc()))),
    "an array of a subquery": lambda: sa.select(
        sa.func.array(sa.select(C.id).scalar_subquery(), type_=pg.ARRAY(sa.Integer))
    ),
    "an interval off now": lambda: sa.select(sa.func.now() - timedelta(days=1) < sa.func.now()),
    "an interval": lambda: sa.select(
        C.created - timedelta(days=1), C.created + C.span, C.local - C.local, C.day + 1, C.day - C.day
    ),
    "an interval of given fields": lambda: sa.select(
        sa.cast(timedelta(1), pg.INTERVAL), sa.literal(timedelta(1), pg.INTERVAL(precision=3)), C.span + timedelta(1)
    ),
    "times with time zones": lambda: sa.select(
        C.created, sa.func.timezone("Europe/Berlin", C.created), C.created.op("AT TIME ZONE")("UTC")
    ),
    "a comparison of times": lambda: sa.select(C.id).where(
        C.created > datetime(2024, 1, 1, tzinfo=UTC), C.local < NOW.replace(tzinfo=None)
    ),
    "generate_series": lambda: sa.select(sa.func.generate_series(1, 3)),
    "generate_series as a table": lambda: sa.select(SERIES),
    "generate_series of days": lambda: sa.select(
        sa.func.generate_series(NOW, NOW + timedelta(days=1), timedelta(hours=12))
    ),
    "greatest": lambda: sa.select(sa.func.greatest(C.id, 5), sa.func.least(C.price, Decimal("1.5"))),
    "regular expressions": lambda: sa.select(
        C.name.regexp_match("^A", "i"), C.name.regexp_replace("b", "x"), C.name.regexp_replace("B", "x", "i")
    ),
    "date_trunc": lambda: sa.select(sa.func.date_trunc("hour", C.created), sa.func.date_trunc("day", C.local)),
    "the epoch": lambda: sa.select(sa.extract("epoch", C.span), sa.extract("epoch", C.created)),
    "sums of floats": lambda: sa.select(
        sa.func.sum(C.ratio), sa.func.avg(C.price), sa.func.stddev(C.ratio), sa.func.sum(C.weight), sa.func.avg(C.exact)
    ),
    "round": lambda: sa.select(
        sa.func.round(C.price, 1), sa.cast(C.ratio, pg.DOUBLE_PRECISION), sa.cast(C.ratio, pg.REAL)
    ),
    "a percentile": lambda: sa.select(sa.func.percentile_cont(0.5).within_group(C.ratio.desc())),
    "special numbers": lambda: sa.select(
        sa.literal(float("inf")), sa.cast("NaN", sa.Numeric), sa.cast(float("-inf"), pg.DOUBLE_PRECISION)
    ),
    "small and big integers": lambda: sa.select(
        sa.literal(1, sa.SmallInteger),
        sa.literal(2**40, sa.BigInteger),
        sa.cast(C.id, sa.SmallInteger),
        sa.literal(-(2**63) + 1),
    ),
    "ranges": lambda: sa.select(C.period, C.days, C.period.contains(3), C.period.overlaps(pg.Range(4, 9))),
    "a range": lambda: sa.select(
        sa.literal(pg.Range(1, 3), pg.INT4RANGE),
        sa.func.upper(C.period),
        sa.literal(pg.Range(empty=True), pg.INT4RANGE),
    ),
    "a range of a type": lambda: sa.select(
        sa.literal(pg.Range(1, 3)),
        sa.literal(pg.Range(date(2024, 1, 1), date(2024, 2, 1), bounds="[]")),
        sa.literal(pg.Range(NOW, None), pg.TSTZRANGE),
        sa.literal(pg.Range(Decimal(1), Decimal(2)), pg.NUMRANGE),
    ),
    "operators of ranges": lambda: sa.select(
        C.period + pg.Range(5, 9),
        C.period * pg.Range(2, 3),
        C.period - pg.Range(3, 9),
        C.period.adjacent_to(pg.Range(5, 6)),
    ),
    "a multirange": lambda: sa.select(
        C.periods,
        C.periods.contains(2),
        sa.literal(UNTYPED.MultiRange([pg.Range(1, 2)]), pg.INT4MULTIRANGE),
        sa.literal([pg.Range(1, 2), pg.Range(5, 6)], pg.INT4MULTIRANGE),
        sa.literal([], pg.INT4MULTIRANGE),
    ),
    "operators of multiranges": lambda: sa.select(C.periods + MORE, C.periods.overlaps([pg.Range(1, 2)])),
    "aggregated ranges": lambda: sa.select(sa.func.range_agg(C.period, type_=pg.INT4MULTIRANGE)),
    "an address": lambda: sa.select(C.address, C.network).where(C.address == "10.0.0.1"),
    "operators of addresses": lambda: sa.select(C.id).where(C.address.op("<<")(sa.cast("10.0.0.0/8", pg.CIDR))),
    "bit strings": lambda: sa.select(C.bits, sa.literal(pg.BitString("11"), pg.BIT(varying=True)), C.bits == "101"),
    "money": lambda: sa.select(C.sum, sa.cast(C.sum, sa.Numeric)),
    "a domain": lambda: sa.select(C.letters, C.letters),
    "a composite value": lambda: sa.select(C.pair, sa.func.row(1, "a"), sa.literal_column("(pair).n", sa.Integer)),
    "a composite parameter": lambda: sa.select(sa.cast(sa.bindparam("p", (2, "y"), type_=C.pair.type), C.pair.type)),
    "text search": lambda: sa.select(
        C.vector,
        UNTYPED.to_tsvector("english", "cats").op("@@")(UNTYPED.to_tsquery("english", "cat")),
        C.name.match("a"),
    ),
    "text search with a configuration": lambda: sa.select(
        C.name.match("a", postgresql_regconfig="english"),
        sa.func.to_tsvector("english", "the cats"),
        UNTYPED.ts_headline("english", "the cats", UNTYPED.plainto_tsquery("english", "cat")),
    ),
    "identifiers of the server": lambda: sa.select(
        sa.literal(16, pg.OID), sa.cast("things", pg.REGCLASS), sa.cast("english", pg.REGCONFIG)
    ),
    "json_build_object": lambda: sa.select(sa.func.json_build_object("a", C.id, "b", C.name, type_=sa.JSON)),
    "jsonb of values": lambda: sa.select(
        sa.func.jsonb_build_object("a", sa.literal(1), type_=pg.JSONB),
        sa.cast({"a": 1}, pg.JSONB),
        sa.literal([1], pg.JSONB),
    ),
    "row_to_json": lambda: sa.select(sa.func.row_to_json(sa.text("things"), type_=sa.JSON)["id"]).select_from(T),
    "a lateral join": lateral,
    "a CTE with a suffix": materialized,
    "a sequence": lambda: sa.select(SEQUENCE.next_value() > 0),
    "a locked row": lambda: sa.select(C.id).with_for_update(skip_locked=True),
    "a locked row of a table": lambda: sa.select(C.id).with_for_update(of=T, key_share=True),
    "distinct on": lambda: sa.select(C.id, C.name).ext(UNTYPED.distinct_on(C.name)).order_by(C.name),
    "a sample": lambda: sa.select(sa.tablesample(T, sa.func.bernoulli(100)).c.id),
    "only": lambda: sa.select(C.id).with_hint(T, "ONLY", "postgresql"),
    "fetch with ties": lambda: sa.select(C.id).order_by(C.id).fetch(1, with_ties=True),
    "grouping sets": lambda: sa.select(C.name, sa.func.count()).group_by(sa.func.rollup(C.name)).order_by(C.name),
    "collation": lambda: sa.select(C.name.collate("C"), sa.collate(sa.literal("a"), "C") < "b"),
    "a window by range": lambda: sa.select(
        sa.func.sum(C.big).over(order_by=C.id, range_=(-5, 5)), sa.func.count().over()
    ),
    "a cast to an enumeration": lambda: sa.select(
        sa.cast(Mood.SAD, C.mood.type), sa.cast(C.mood, sa.String), C.mood == Mood.SAD
    ),
    "a list of uuids": lambda: sa.select(C.id).where(C.key.in_([uuid.UUID(int=7)]), C.key.op("=")(uuid.UUID(int=7))),
    "a uuid as text": lambda: sa.select(
        sa.literal(str(uuid.UUID(int=7)), sa.Uuid(as_uuid=False)), sa.func.gen_random_uuid() == C.key
    ),
    "a type of times": lambda: sa.select(C.shouted, sa.func.max(C.shouted)).group_by(C.shouted),
    "a quoted type": lambda: sa.select(sa.cast("x", sa.CHAR(3)), sa.cast(b"x", pg.BYTEA)),
    "a postfix in": lambda: sa.select(C.id).where(C.tags.in_([["one", "two"], ["x"]])),
    "a slice of bytes": lambda: sa.select(sa.func.substring(C.data, 1, 1), sa.func.encode(C.data, "hex")),
    "named arguments": lambda: sa.select(sa.func.make_interval(0, 0, 0, 1), sa.func.make_date(2024, 1, 2)),
    "hashes": lambda: sa.select(sa.func.md5("x"), sa.func.sha256(b"x")),
}
