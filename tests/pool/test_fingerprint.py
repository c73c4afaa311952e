"""Statements without values: no literal is left, in whatever way it is written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalekit_pool.fingerprint import fingerprint_of, without_literals
from scalekit_pool.spans import MAX_QUERY_TEXT, summarize


@pytest.mark.parametrize(
    "literal",
    [
        "'secret'",
        "'it''s secret'",
        "'secret\\'",
        r"E'it\'s secret'",
        r"e'secret\\'",
        "$$it's secret$$",
        "$tag$secret $$ 'secret$tag$",
        "N'secret'",
        "U&'secret'",
        "x'5ec2e7'",
        "'secret",
        "$$secret",
        "12345",
        "-1.5",
        "1.",
        ".5",
        "1e5",
        "1.5E-10",
        "0xFF",
        "1_000",
    ],
)
def test_a_literal_is_removed(literal: str) -> None:
    assert without_literals(f"SELECT a FROM t WHERE b = {literal}", "postgresql") == "SELECT a FROM t WHERE b = ?"


@pytest.mark.parametrize(
    "literal",
    [
        "'secret'",
        "'it''s secret'",
        r"'it\'s secret'",
        r"'secret\\'",
        '"secret"',
        '"it""s \\" secret"',
        '"secret',
        "_utf8mb4'secret'",
        "N'secret'",
        "x'5ec2e7'",
        "0b101",
        "-1.5e3",
    ],
)
def test_a_literal_of_mysql_is_removed(literal: str) -> None:
    shown = without_literals(f"SELECT `a`, b FROM t WHERE b = {literal}", "mysql")
    assert shown.replace("_utf8mb4?", "?") == "SELECT `a`, b FROM t WHERE b = ?"


def test_comments_of_mysql_are_removed_unless_they_are_executed() -> None:
    sql = "SELECT 5--1 # it's secret\n, a -- secret\nFROM t /* secret */ /*!50000 WHERE b = 'secret' */"
    assert fingerprint_of(sql, "mysql") == "SELECT ?-? , a FROM t /*!? WHERE b = ? */"


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT \"it's\", `o'clock` FROM t1 WHERE c2 = :p3",
        "SELECT a::int FROM t",
    ],
)
def test_names_and_parameters_are_kept(sql: str) -> None:
    assert without_literals(sql, "postgresql") == sql


def test_statements_with_different_comments_are_equal() -> None:
    found = {
        fingerprint_of(f"SELECT a /* traceparent='00-{n}' */ FROM t -- it's {n}\nWHERE b = 'x'", "postgresql")
        for n in "ab"
    }
    assert found == {"SELECT a FROM t WHERE b = ?"}


def test_a_long_literal_is_removed_before_the_statement_is_cut() -> None:
    summary = summarize(f"INSERT INTO t VALUES ('{'secret' * MAX_QUERY_TEXT}')", "postgresql")
    assert summary.text == "INSERT INTO t VALUES (?)"


def test_the_table_is_not_read_from_a_literal_or_comment() -> None:
    summary = summarize("/* from alice */ -- from bob\nSELECT 'from carol' FROM items", "postgresql")
    assert (summary.operation, summary.table) == ("SELECT", "items")
    assert summary.text == "SELECT ? FROM items"


@given(st.text("ab'$\"\\-/*E01.e? \n", max_size=30))
def test_a_quoted_text_never_leaves_its_value(prefix: str) -> None:
    assert "zzz" not in without_literals("'zzz' " + prefix, "postgresql")
    assert "zzz" not in without_literals("SELECT $q$zzz$q$ " + prefix, "postgresql")
    assert "zzz" not in without_literals("'zzz' " + prefix, "mysql")
    assert "zzz" not in without_literals('SELECT "zzz" ' + prefix, "mysql")
