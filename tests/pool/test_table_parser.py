from __future__ import annotations

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from scalekit_pool.compiler import ExpressionCompiler
from scalekit_pool.mysql.dialect import mysql_dialect
from scalekit_pool.postgres.dialect import postgres_dialect
from scalekit_pool.sqlite.dialect import sqlite_dialect
from scalekit_pool.statement_classifier import Statement, StatementParser
from scalekit_pool.table_parser import MAX_STATEMENT_LENGTH, TableParser
from scalekit_pool.table_usage import UNKNOWN_TABLES, TableUsage, normalize_table_name

METADATA = sa.MetaData()
ITEMS = sa.Table("items", METADATA, sa.Column("id", sa.Integer, primary_key=True), sa.Column("n", sa.Integer))
PARTS = sa.Table("Parts", METADATA, sa.Column("id", sa.Integer), sa.Column("item", sa.Integer), schema="shop")


def statement(text: str, dialect: str = "sqlite") -> Statement:
    return StatementParser(dialect, True, TableParser(dialect).find_tables).parse(text)


def used(text: str, dialect: str = "sqlite") -> TableUsage:
    return statement(text, dialect).tables


def both(*names: str) -> TableUsage:
    return TableUsage(frozenset(names), frozenset(names))


def read(*names: str) -> TableUsage:
    return TableUsage(frozenset(names), frozenset())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT 1", read()),
        ("SELECT * FROM items WHERE id = :id", read("items")),
        ("SELECT * FROM shop.Items AS i JOIN parts USING (id)", read("items", "parts")),
        ("SELECT (SELECT max(x) FROM b) FROM a ORDER BY (SELECT 1 FROM c)", read("a", "b", "c")),
        ("SELECT x FROM a UNION SELECT y FROM b INTERSECT SELECT z FROM c", read("a", "b", "c")),
        ("WITH w AS (SELECT * FROM a) SELECT * FROM w", read("a", "w")),
        ("WITH a AS (SELECT * FROM a) SELECT * FROM a", read("a")),
        ("SELECT 'FROM b' FROM a -- , d\n", read("a")),
        ("SELECT * FROM a /* , b */", read("a")),
        ("INSERT INTO a (x) VALUES (:x)", both("a")),
        ("INSERT INTO a SELECT * FROM b", TableUsage(frozenset("ab"), frozenset("a"))),
        ("UPDATE a SET x = (SELECT y FROM b) WHERE z IN (SELECT z FROM c)",
         TableUsage(frozenset("abc"), frozenset("a"))),
        ("DELETE FROM shop.a WHERE x = 1 RETURNING (SELECT y FROM b)", TableUsage(frozenset("ab"), frozenset("a"))),
    ],
)  # fmt: skip
@pytest.mark.parametrize("dialect", ["sqlite", "postgresql", "mysql"])
def test_the_tables_of_plain_statements_are_known(text: str, expected: TableUsage, dialect: str) -> None:
    assert used(text, dialect) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("WITH d AS (DELETE FROM b RETURNING *) INSERT INTO a TABLE d", TableUsage(frozenset("abd"), frozenset("ab"))),
        ("WITH d AS (DELETE FROM b RETURNING *) SELECT * FROM d, c", TableUsage(frozenset("bcd"), frozenset("b"))),
        ("SELECT * FROM a FOR UPDATE SKIP LOCKED", read("a")),
        ('SELECT \'FROM b\', "c" FROM shop."Items"', read("items")),
        ("INSERT INTO a (x) VALUES (1) ON CONFLICT (x) DO UPDATE SET x = 2 WHERE y IN (SELECT y FROM b)",
         TableUsage(frozenset("ab"), frozenset("a"))),
        ("VALUES (1)", read()),
        ("SELECT * FROM ONLY a, LATERAL (SELECT * FROM b WHERE b.x = a.x) c", read("a", "b")),
        ("SELECT * FROM a, generate_series(1, 2), unnest(:x::text[]) u", read("a")),
        ("DELETE FROM a USING b WHERE a.id = b.id", TableUsage(frozenset("ab"), frozenset("a"))),
        ("UPDATE a SET x = 1 FROM b WHERE a.id = b.id", TableUsage(frozenset("ab"), frozenset("a"))),
        ("SELECT $q$ ' FROM b $q$, E'\\' FROM c', x FROM a", read("a")),
        ("SELECT * FROM a /* x /* y */ , b */", read("a")),
    ],
)  # fmt: skip
def test_the_tables_of_postgresql_statements_are_known(text: str, expected: TableUsage) -> None:
    assert used(text, "postgresql") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("REPLACE INTO a (x) VALUES (1)", both("a")),
        ("VALUES (1)", read()),
        ("INSERT OR IGNORE INTO [a] (x) VALUES (1)", both("a")),
        ("SELECT * FROM `A`, 'b', \"c\"", read("a", "b", "c")),
        ("SELECT * FROM a /* x /* y */ , b", read("a", "b")),
    ],
)
def test_the_tables_of_sqlite_statements_are_known(text: str, expected: TableUsage) -> None:
    assert used(text, "sqlite") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT \"FROM b\", 'it\\'s FROM c' FROM shop.`Items` # , d", read("items")),
        ("SELECT * FROM a USE INDEX (i), JSON_TABLE('[]', '$[*]' COLUMNS (x INT PATH '$')) AS t", UNKNOWN_TABLES),
        ("SELECT * FROM a LOCK IN SHARE MODE", read("a")),
        ("REPLACE INTO a (x) VALUES (1)", both("a")),
        ("INSERT IGNORE INTO a SET x = 1", both("a")),
        ("INSERT INTO a (x) VALUES (1) ON DUPLICATE KEY UPDATE x = VALUES(x)", both("a")),
        ("INSERT INTO a (x) VALUES (1) RETURNING x", both("a")),
        ("UPDATE a JOIN b ON a.id = b.id SET b.x = 1", both("a", "b")),
        ("UPDATE a, b SET b.x = 1 WHERE a.id = b.id", both("a", "b")),
        ("DELETE b FROM a JOIN b ON a.id = b.id", both("a", "b")),
        ("DELETE FROM a USING a JOIN b ON a.id = b.id", TableUsage(frozenset("ab"), frozenset("a"))),
        ("SELECT 1 /*! FROM a */", UNKNOWN_TABLES),
        ("SELECT 1 /*M!100000 FROM a */", UNKNOWN_TABLES),
        ("SELECT @a := 1 FROM a", UNKNOWN_TABLES),
        ("SELECT * FROM performance_schema.threads", TableUsage(None, frozenset())),
    ],
)
def test_the_tables_of_mysql_statements_are_known(text: str, expected: TableUsage) -> None:
    assert used(text, "mysql") == expected


@pytest.mark.parametrize(
    "text",
    [
        "SELECT mine()",
        "SELECT * FROM mine(1)",
        "INSERT INTO a VALUES (mine())",
        "CALL p()",
        "DO $$ BEGIN END $$",
        "TRUNCATE a",
        "COPY a FROM STDIN",
        "CREATE TABLE a (x int)",
        "SELECT * INTO b FROM a",
        "EXPLAIN ANALYZE DELETE FROM a",
        "DELETE FROM a; DELETE FROM b",
        "DELETE FROM a WHERE CURRENT OF c",
        "MERGE INTO a USING b ON a.id = b.id WHEN MATCHED THEN DELETE",
        "EXECUTE prepared(1)",
        "REFRESH MATERIALIZED VIEW v",
        "COMMIT",
        "SHOW search_path",
        "not sql at all",
        "",
        "SELECT " + "(" * 5000 + "1" + ")" * 5000,
        "SELECT * FROM a WHERE x IN (" + ", ".join(["1"] * MAX_STATEMENT_LENGTH) + ")",
    ],
)
def test_the_tables_of_ambiguous_statements_are_unknown(text: str) -> None:
    assert used(text, "postgresql") == UNKNOWN_TABLES


@pytest.mark.parametrize(
    "text",
    [
        "SELECT * FROM a WHERE x IN b",
        "SELECT x NOT IN main.b FROM a",
        "SELECT * FROM sqlite_master",
        "SELECT * FROM pg_stat_activity",
        "SELECT * FROM information_schema.tables",
        "SELECT pg_relation_size('a')",
        "SELECT to_regclass('a')",
        'SELECT * FROM U&"a"',
        "SELECT * FROM ROWS FROM (generate_series(1, 2)) g",
    ],
)
def test_the_tables_of_a_read_that_hides_them_are_unknown(text: str) -> None:
    assert used(text, "sqlite").read is None
    assert used(text, "postgresql").read is None


def test_a_text_is_parsed_once() -> None:
    parsed_texts: list[str] = []
    reader = StatementParser("sqlite", True, lambda text: parsed_texts.append(text) or UNKNOWN_TABLES)  # type: ignore[func-returns-value]
    for _ in range(3):
        reader.parse("SELECT * FROM a WHERE x = :x")
    assert parsed_texts == ["SELECT * FROM a WHERE x = ?"]


EXPRESSIONS = {"sqlite": sqlite_dialect(), "postgresql": postgres_dialect(), "mysql": mysql_dialect("mysql")}


@pytest.mark.parametrize("dialect", EXPRESSIONS)
def test_the_tables_of_expressions_are_known_however_long_their_lists_are(dialect: str) -> None:
    parsed_texts: list[str] = []
    finder = TableParser(dialect)
    reader = StatementParser("postgresql", True, lambda text: parsed_texts.append(text) or finder.find_tables(text))  # type: ignore[func-returns-value]
    compiler = ExpressionCompiler(EXPRESSIONS[dialect], reader)
    joined = sa.select(ITEMS).join(PARTS, PARTS.c.item == ITEMS.c.id)
    for length in range(4):
        call = compiler.compile(joined.where(ITEMS.c.id.in_(list(range(length)))), None)
        assert call.statement.tables == read("items", "parts")
    assert len(parsed_texts) == 1, parsed_texts
    insert = ITEMS.insert().from_select(["id"], sa.select(PARTS.c.id))
    assert compiler.compile(insert, None).statement.tables == TableUsage(
        frozenset({"items", "parts"}), frozenset({"items"})
    )
    changed = ITEMS.update().where(ITEMS.c.id.in_(sa.select(PARTS.c.item))).values(n=1)
    assert compiler.compile(changed, None).statement.tables == TableUsage(
        frozenset({"items", "parts"}), frozenset({"items"})
    )
    assert compiler.compile(sa.select(sa.func.mine(ITEMS.c.id)), None).statement.tables == UNKNOWN_TABLES
    hidden = sa.select(ITEMS).where(sa.text("EXISTS (SELECT 1 FROM other)"))
    assert compiler.compile(hidden, None).statement.tables == read("items", "other")


@given(st.text(min_size=1))
def test_all_spellings_of_a_name_are_equal(name: str) -> None:
    folded = normalize_table_name(name)
    assert folded == normalize_table_name(name.casefold()) or len(name.encode("utf-8", "surrogatepass")) > 63
    assert folded == normalize_table_name(name.encode("utf-8", "surrogatepass")[:63].decode("utf-8", "ignore"))


# SQLite's own authorizer decides which tables a random statement uses.
