from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from scalekit_pool.statement_classifier import StatementParser
from scalekit_pool.statement_table import MAX_EXPLAINED, MAX_STATEMENTS, MAX_TEXT, StatementTable

TEXTS = st.lists(st.characters() | st.sampled_from("\ud800\udfff"), max_size=100).map("".join)
"""Any text; `st.text` has no halves of surrogate pairs."""
PARSER = StatementParser("postgresql")


def table_of(*texts: str) -> StatementTable:
    table = StatementTable("primary", "postgresql")
    for text in texts:
        table.record(PARSER.parse(text), 1.0, 1)
    return table


def test_statements_that_differ_in_values_are_one() -> None:
    table = table_of("SELECT a FROM t WHERE b = 1", "SELECT a  FROM t WHERE b = 'secret'")
    table.record(PARSER.parse("SELECT a FROM t WHERE b = :b"), 3.0, 5)
    table.record_failure("SELECT a FROM t WHERE b = 2", 0.5)
    (found,) = table.statements.values()
    assert found.text == "SELECT a FROM t WHERE b = ?"
    assert (found.count, found.errors, found.rows) == (4, 1, 7)
    assert (found.seconds, found.max_seconds) == (5.5, 3.0)


def test_a_full_table_keeps_the_statements_that_take_most_time_and_the_time_of_all() -> None:
    table = StatementTable("primary", "postgresql")
    for number in range(3 * MAX_STATEMENTS):
        table.record(PARSER.parse(f"SELECT c{number} FROM t"), 100.0 if number % 10 == 0 else 1.0, 1)
    assert len(table.statements) <= MAX_STATEMENTS
    slow = {f"SELECT c{number} FROM t" for number in range(0, 3 * MAX_STATEMENTS, 10)}
    assert slow <= {each.text for each in table.statements.values()}
    kept = sum(each.seconds for each in table.statements.values())
    assert kept + table.evicted_seconds == 3 * MAX_STATEMENTS / 10 * (100 + 9)


def test_long_statements_take_bounded_memory() -> None:
    columns = ", ".join(f"c{number}" for number in range(MAX_EXPLAINED))
    table = table_of(f"SELECT {columns} FROM a", f"SELECT {columns} FROM b")
    (found,) = table.statements.values()
    assert (len(found.text), found.sql, found.count) == (MAX_TEXT, "", 2)


def test_only_queries_and_changes_can_be_explained() -> None:
    explained = [
        "SELECT 1",
        "(SELECT 1) UNION (SELECT 2)",
        "WITH a AS (SELECT 1) SELECT * FROM a",
        "/* route */ select 1",
        "INSERT INTO t VALUES (1)",
        "UPDATE t SET a = 1",
        "DELETE FROM t",
    ]
    refused = [
        "DROP TABLE t",
        "EXPLAIN ANALYZE SELECT 1",
        "ANALYZE SELECT",
        "SELECTED",
        "COPY t TO PROGRAM 'x'",
        "CALL f()",
        "/* SELECT 1 */ TRUNCATE t",
        'INSERT INTO "t", 3 rows',  # describes a bulk insert
        "",
    ]
    for sql in explained + refused:
        (found,) = table_of(sql).statements.values()
        assert bool(found.sql) == (sql in explained), sql


@given(TEXTS, TEXTS)
def test_any_text_is_counted_under_an_id_of_its_own(first: str, second: str) -> None:
    table = StatementTable("primary", "postgresql")
    for text in (first, second):
        table.record_failure(text, 1.0)
    found = list(table.statements.values())
    assert sum(each.count for each in found) == 2
    for each in found:
        each.text.encode()
        each.sql.encode()
