"""Spans of statements, and of the time that a task waits for a connection."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from scalekit.telemetry import Attributes, SpanKind, SpanType
from scalekit_pool.fingerprint import without_literals

MAX_RECORDED = 16_384
"""Characters of a statement that are recorded, with its values."""
MAX_QUERY_TEXT = 4096
"""Characters of a statement that are exported."""

_TABLE = re.compile(
    r"\b(?:from|into|update|join|table)\s+(?:if\s+(?:not\s+)?exists\s+|only\s+)?([\w.\"`]+)", re.IGNORECASE
)
_WORD = re.compile(r"\W*(\w+)")


_DIALECTS = {"mariadb": "mysql"}


class StatementSummary(NamedTuple):
    """The operation of a statement, such as ``SELECT``, its first table, and its text without literal values."""

    operation: str
    table: str
    text: str

    @property
    def summary(self) -> str:
        """The name of its span: operation and table."""
        return f"{self.operation} {self.table}".strip()


@lru_cache(256)
def summarize(sql: str, dialect: str) -> StatementSummary:
    """Return the summary of *sql*; literal values become ``?``, since they may be personal data."""
    text = without_literals(sql, dialect).strip()[:MAX_QUERY_TEXT]
    word, table = _WORD.match(text), _TABLE.search(text)
    operation = word[1].upper() if word else "SQL"
    return StatementSummary(operation, table[1].replace('"', "").replace("`", "") if table else "", text)


def _statement_name(system: str, pool: str, sql: str, rows: int) -> str:
    return summarize(sql, _DIALECTS.get(system, system)).summary


def _statement_attributes(system: str, pool: str, sql: str, rows: int) -> Attributes:
    summary = summarize(sql, _DIALECTS.get(system, system))
    attributes: Attributes = {
        "db.system.name": system,
        "db.query.text": summary.text,
        "db.query.summary": summary.summary,
        "db.operation.name": summary.operation,
        "db.response.returned_rows": rows,
        "scalekit.pool": pool,
    }
    if summary.table:
        attributes["db.collection.name"] = summary.table
    return attributes


STATEMENT_SPAN = SpanType(SpanKind.CLIENT, _statement_name, _statement_attributes)
"""A statement; its values are the database system, the name of the pool, the text of the statement and rows."""

WAIT_SPAN = SpanType(SpanKind.INTERNAL, lambda pool: "pool wait", lambda pool: {"scalekit.pool": pool})
"""Waiting for a connection; its value is the name of the pool."""
