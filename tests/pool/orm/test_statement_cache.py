"""Statements are parsed once, whatever the length of their lists."""

from __future__ import annotations

from scalekit_pool.orm.statement_cache import StatementCache
from scalekit_pool.statement_classifier import StatementParser
from scalekit_pool.table_parser import TableParser


def test_an_expanded_statement_is_classified_by_its_template() -> None:
    cache = StatementCache(StatementParser("sqlite", find_tables=TableParser("sqlite").find_tables))
    template = "SELECT a.id FROM a WHERE a.id IN (__[POSTCOMPILE_id_1])"
    for places in ("?", "?, ?"):
        sql = f"SELECT a.id FROM a WHERE a.id IN ({places})"
        statement = cache.statement(sql, template)
        assert statement.sql == sql
        assert statement.is_read_only
        assert statement.tables.read == frozenset({"a"})
        assert statement.fingerprint == "SELECT a.id FROM a WHERE a.id IN (?)"
    assert cache.statement("SELECT 1") is cache.statement("SELECT 1")
