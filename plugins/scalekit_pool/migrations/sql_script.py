"""Split SQL files into statements, and find statements that a migration cannot contain."""

from __future__ import annotations

import re
from collections.abc import Iterator
from sqlite3 import complete_statement

_LEADING = re.compile(r"(?:\s+|--[^\n]*|/\*.*?\*/)*", re.DOTALL)
_NO_STATEMENT = re.compile(  # text in which PostgreSQL reads no statement of the file itself
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
MARKER = "-- no-transaction"
"""The comment line before the statement of a file that runs outside a transaction, as sqlx has it."""
_WITHOUT_MARKER = {
    "sqlite": "on SQLite each file runs in a transaction",
    "mysql": "on MySQL statements that define tables commit anyway",
}
_NO_TRANSACTION = re.compile(r"(?:\s|--[^\n]*\n)*?--[ \t]*no-transaction[ \t]*(?:\n|\Z)")
_COPY = re.compile(r"(?:\A|;)\s*(copy\b[^;]*\bfrom\s+stdin)\b", re.IGNORECASE)


def split_statements(text: str) -> Iterator[tuple[int, str]]:
    """Yield each statement of *text* with its line; text after the last semicolon is a statement too."""
    start = 0
    for match in re.finditer(r";|\Z", text):
        end = match.end()
        if not complete_statement(text[start:end]) and end < len(text):
            continue
        first = _skip_comments(text, start)
        if first < end:
            yield line_at(text, first), text[first:end]
        start = end


def find_unsupported(text: str, dialect: str) -> tuple[int, str] | None:
    """Return the line of a statement that a migration cannot contain, and the remedy; or None."""
    if dialect == "sqlite":
        starts = ((line, _CONTROL.match(statement)) for line, statement in split_statements(text))
        return next(((line, _remove_hint(match[1])) for line, match in starts if match), None)
    if dialect == "mysql":
        from scalekit_pool.migrations.mysql_script import split_mysql_statements

        starts = ((line, _CONTROL.match(statement)) for line, statement in split_mysql_statements(text))
        return next(((line, _remove_hint(match[1])) for line, match in starts if match), None)
    bare = _bare(text)
    if control := _CONTROL.search(bare):
        return line_at(bare, control.start(1)), _remove_hint(control[1])
    if copy := _COPY.search(bare):
        return line_at(bare, copy.start(1)), "use INSERT instead of COPY FROM STDIN, as pg_dump --inserts does"
    return None


def is_outside_transaction(text: str) -> bool:
    """Return whether *text* begins with ``-- no-transaction``: its statement runs outside a transaction."""
    return _NO_TRANSACTION.match(text) is not None


def find_second_statement(text: str, dialect: str) -> tuple[int, str] | None:
    """Return the line of a second statement of *text*, which runs outside a transaction, and the remedy; or None.

    On SQLite and MySQL every statement is one too many.
    """
    if dialect in _WITHOUT_MARKER:
        return 1, f"remove {MARKER}: {_WITHOUT_MARKER[dialect]}"
    bare = _bare(text)
    starts = [match.start(1) for match in re.finditer(r"(?:\A|;)\s*([^\s;])", bare)]
    if len(starts) < 2:
        return None
    return line_at(bare, starts[1]), "move this statement to a file of its own: with -- no-transaction a file has one"


def _bare(text: str) -> str:
    """Return *text* without comments, texts and names in quotes, and with the same lines."""
    return _NO_STATEMENT.sub(lambda match: " " + "\n" * match[0].count("\n"), text)


def _remove_hint(words: str) -> str:
    return f"remove {words.upper()}: each file already runs in its own transaction"


def line_at(text: str, offset: int) -> int:
    """Return the line number of the character at *offset*."""
    return text.count("\n", 0, offset) + 1


def _skip_comments(text: str, start: int) -> int:
    match = _LEADING.match(text, start)
    return match.end() if match else start
