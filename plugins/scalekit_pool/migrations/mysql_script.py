"""Split SQL files of MySQL into statements, as the client ``mysql`` does, with its command DELIMITER."""

from __future__ import annotations

import re
from collections.abc import Iterator

from scalekit_pool.migrations.sql_script import line_at

_SPACE = re.compile(r"(?:\s+|--(?=\s|\Z)[^\n]*|\#[^\n]*|/\*(?!M?!).*?(?:\*/|\Z))+", re.DOTALL)
_QUOTED = re.compile(r"""'(?:[^'\\]|\\.|'')*'?|"(?:[^"\\]|\\.|"")*"?|`[^`]*`?""", re.DOTALL)
_DELIMITER = re.compile(r"delimiter[ \t]+(\S+)[ \t]*(?:\n|\Z)", re.IGNORECASE)


def split_mysql_statements(text: str) -> Iterator[tuple[int, str]]:
    """Yield each statement of *text*, without its delimiter, with its line."""
    delimiter, start, place = ";", None, 0
    while place < len(text):
        if skipped := _SPACE.match(text, place):
            place = skipped.end()
        elif start is None and (command := _DELIMITER.match(text, place)):
            delimiter, place = command[1], command.end()
        elif text.startswith(delimiter, place):
            if start is not None:
                yield line_at(text, start), text[start:place]
            start, place = None, place + len(delimiter)
        else:
            start = place if start is None else start
            quoted = _QUOTED.match(text, place)
            place = quoted.end() if quoted else place + 1
    if start is not None:
        yield line_at(text, start), text[start:].rstrip()
