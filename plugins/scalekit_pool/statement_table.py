"""Count the statements of a database by fingerprint, with their time, rows and errors, in bounded memory."""

from __future__ import annotations

import re
from hashlib import blake2b

from scalekit_pool.fingerprint import fingerprint_of
from scalekit_pool.statement_classifier import Statement

MAX_STATEMENTS = 500
"""Fingerprints of a table; those with the least time leave it."""
MAX_TEXT = 4_000
"""Characters of a fingerprint; statements that begin with the same ones are counted as one."""
MAX_EXPLAINED = 20_000
"""Characters of a statement that can be explained."""
# A bulk insert, whose text only describes it, is not SQL.
_EXPLAINED = re.compile(r"(?!INSERT INTO .*, \? rows$)[(\s]*(?:SELECT|INSERT|UPDATE|DELETE|WITH)\b", re.IGNORECASE)


class StatementStatistics:
    """The calls of the statements with the fingerprint *text*; times are in seconds.

    *sql* is one of them as the driver receives it, with placeholders, or empty when it cannot be explained. It may
    contain literal values, so it must never be shown.
    """

    __slots__ = ("count", "errors", "id", "max_seconds", "rows", "seconds", "sql", "text")

    def __init__(self, identifier: str, text: str, sql: str) -> None:
        self.id = identifier
        self.text = text
        self.sql = sql
        self.count = 0
        self.errors = 0
        self.seconds = 0.0
        self.max_seconds = 0.0
        self.rows = 0


class StatementTable:
    """The statistics of the database *pool* of *dialect*.

    *evicted_seconds* is the time of statements that have left the table.
    """

    def __init__(self, pool: str, dialect: str) -> None:
        self.pool = pool
        self._dialect = dialect
        self.evicted_seconds = 0.0
        self.statements: dict[str, StatementStatistics] = {}

    def record(self, statement: Statement, seconds: float, rows: int) -> None:
        """Count a call of *statement* that took *seconds* and returned *rows*."""
        found = self.statements.get(statement.fingerprint) or self._find(statement.fingerprint, statement.sql)
        found.count += 1
        found.seconds += seconds
        if seconds > found.max_seconds:
            found.max_seconds = seconds
        found.rows += rows

    def record_failure(self, sql: str, seconds: float) -> None:
        """Count a call of *sql* that failed after *seconds*."""
        found = self._find(fingerprint_of(sql, self._dialect), sql)
        found.count += 1
        found.errors += 1
        found.seconds += seconds
        found.max_seconds = max(found.max_seconds, seconds)

    def _find(self, fingerprint: str, sql: str) -> StatementStatistics:
        key = fingerprint[:MAX_TEXT]
        found = self.statements.get(key)
        if found is None:
            if len(self.statements) >= MAX_STATEMENTS:
                self._evict()
            explained = len(sql) <= MAX_EXPLAINED and _EXPLAINED.match(fingerprint) is not None
            # The driver refuses half surrogate pairs, and so does JSON.
            text, sql = (each.encode(errors="replace").decode() for each in (key, sql if explained else ""))
            identifier = blake2b(f"{self.pool}\0{text}".encode(), digest_size=8).hexdigest()
            found = self.statements[key] = StatementStatistics(identifier, text, sql)
        return found

    def _evict(self) -> None:
        """Remove the tenth of the statements that took the least time; one at a time would cost more."""
        for key in sorted(self.statements, key=lambda each: self.statements[each].seconds)[: MAX_STATEMENTS // 10]:
            self.evicted_seconds += self.statements.pop(key).seconds
