"""The parsed statements of an engine, by the text that SQLAlchemy compiles."""

from __future__ import annotations

import re
from dataclasses import replace

from scalekit_pool.statement_classifier import MAX_CACHED_STATEMENTS, Statement, StatementParser, check_text

MAX_CACHED_LENGTH = 20_000
"""Characters of the longest text that is kept."""

_LIST = re.compile(r"__\[POSTCOMPILE_[^\]]*\]")
"""A place in a template where SQLAlchemy renders the values of one statement."""


class StatementCache:
    """Parses each text by *parser* once, within bounds."""

    def __init__(self, parser: StatementParser) -> None:
        self._parser = parser
        self._statements: dict[str, Statement] = {}

    def statement(self, sql: str, template: str = "") -> Statement:
        """Return the statement of *sql*, expanded from *template* if that is not empty.

        Only the template is parsed then: the lists of IN and the rows of VALUES have many lengths.
        """
        if template and template != sql:
            check_text(sql)
            return replace(self._parsed(template), sql=sql)
        return self._parsed(sql)

    def _parsed(self, sql: str) -> Statement:
        found = self._statements.get(sql)
        if found is None:
            found = self._parser.parse_native(_LIST.sub("1", sql))
            if len(sql) <= MAX_CACHED_LENGTH:
                if len(self._statements) >= MAX_CACHED_STATEMENTS:
                    self._statements.clear()
                self._statements[sql] = found
        return found
