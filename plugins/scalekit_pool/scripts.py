"""Read SQL files as far as it takes to run them: where a statement begins, and whether one ends the transaction."""

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


def transaction_control(text: str, dialect: str) -> tuple[int, str] | None:
    """Return line and words of a statement that begins or ends a transaction, or None."""
    if dialect == "sqlite":
        for line, statement in sqlite_statements(text):
            if match := _CONTROL.match(statement):
                return line, match[1].upper()
        return None
    bare = _NO_STATEMENT.sub(lambda match: " " + "\n" * match[0].count("\n"), text)
    found = _CONTROL.search(bare)
    return (line_at(bare, found.start(1)), found[1].upper()) if found else None


def line_at(text: str, offset: int) -> int:
    """Return the number of the line that has the character at *offset*."""
    return text.count("\n", 0, offset) + 1


def _first(text: str, start: int) -> int:
    match = _LEADING.match(text, start)
    return match.end() if match else start
