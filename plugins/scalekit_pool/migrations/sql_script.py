"""Read SQL files as far as it takes to run them: where a statement begins, and whether one cannot be run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from sqlite3 import complete_statement

_LEADING = re.compile(r"(?:\s+|--[^\n]*|/\*.*?\*/)*", re.DOTALL)
_NO_STATEMENT = re.compile(  # where PostgreSQL reads no statement of the file itself
    r"--[^\n]*"
    r"|/\*.*?\*/"
    r"|\be'(?:[^'\\]|\\.)*'"
    r"|'[^']*'"
    r'|"[^"]*"'
    r"|(\$(?:[a-z_]\w*)?\$).*?\1"
    r"|\bbegin\s+atomic\b.*?;\s*end\b",
    re.DOTALL | re.IGNORECASE,
)
_CONTROL = re.compile(
    r"(?:\A|;)\s*(begin|start\s+transaction|commit|end|abort|prepare\s+transaction|rollback(?!\s+(?:\w+\s+)?to\b))\b",
    re.IGNORECASE,
)
_COPY = re.compile(r"(?:\A|;)\s*(copy\b[^;]*\bfrom\s+stdin)\b", re.IGNORECASE)


def sqlite_statements(text: str) -> Iterator[tuple[int, str]]:
    """Yield each statement of *text* and its line; what follows the last semicolon is a statement too."""
    start = 0
    for match in re.finditer(r";|\Z", text):
        end = match.end()
        if not complete_statement(text[start:end]) and end < len(text):
            continue
        first = _first(text, start)
        if first < end:
            yield line_at(text, first), text[first:end]
        start = end


def unfit(text: str, dialect: str) -> tuple[int, str] | None:
    """Return the line of a statement that cannot be run within a file, and the remedy; or None."""
    if dialect == "sqlite":
        starts = ((line, _CONTROL.match(statement)) for line, statement in sqlite_statements(text))
        return next(((line, _without(match[1])) for line, match in starts if match), None)
    bare = _NO_STATEMENT.sub(lambda match: " " + "\n" * match[0].count("\n"), text)
    if control := _CONTROL.search(bare):
        return line_at(bare, control.start(1)), _without(control[1])
    if copy := _COPY.search(bare):
        return line_at(bare, copy.start(1)), "write INSERT for COPY FROM STDIN, as pg_dump --inserts does"
    return None


def _without(words: str) -> str:
    return f"remove {words.upper()}: each file is in a transaction of its own already"


def line_at(text: str, offset: int) -> int:
    """Return the number of the line that has the character at *offset*."""
    return text.count("\n", 0, offset) + 1


def _first(text: str, start: int) -> int:
    match = _LEADING.match(text, start)
    return match.end() if match else start
