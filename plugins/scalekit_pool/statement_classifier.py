"""What a statement is, read from its text once: its parameters, and what it may do.

This decides where it may run and what must follow. Whoever is in doubt is on the safe side: what is not known to be a
read is a write, and what is not known to leave the session as it was makes the connection be reset.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from scalekit_pool.safe_functions import KNOWN
from scalekit_pool.table_usage import UNKNOWN, Used, UsedBy

MOST_REMEMBERED = 1000

_TOKEN = re.compile(
    r"""(?P<skipped>(?<![\w$])[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|"(?:[^"]|"")*"|`[^`]*`|--[^\r\n]*"""
    r"""|(?<![\w$])\$(?P<tag>(?:[^\W\d]\w*)?)\$.*?\$(?P=tag)\$)|(?P<comment>/\*.*?(?:\*/|\Z))|(?P<escaped>\\:)"""
    r"""|(?P<cast>::+)|(?<![\w:]):(?P<name>[A-Za-z_]\w*)""",
    re.DOTALL,
)
_COMMENT_MARK = re.compile(r"/\*|\*/")
_WORD = re.compile(r"[^\W\d][\w$]*")
_CALL = re.compile(r"(?:([\w$]+|\")\s*\.\s*)?([^\W\d][\w$]*|\")\s*\(")
_COLUMN_LIST = re.compile(r"\bINTO\s+[\w.\"$]+(?:\s+AS\s+\w+)?\s*\(", re.IGNORECASE)
_INSERT_INTO = re.compile(r"(^|[()])\s*(INSERT|MERGE|REPLACE)(\s+OR\s+\w+)?\s+INTO\b", re.IGNORECASE)
_READS = frozenset({"SELECT", "WITH", "VALUES", "TABLE", "SHOW"})
_CHANGES = frozenset({"INSERT", "UPDATE", "DELETE", "MERGE", "REPLACE"})
_LOCKS = frozenset({"SHARE", "UPDATE"})


@dataclass(frozen=True, slots=True)
class Statement:
    """A text for the driver, with the names of its positional parameters.

    It *reads* when it changes nothing, and is *plain* when it leaves the session as it was. Which tables it has *used*
    is looked for only where somebody wants to know.
    """

    sql: str
    names: tuple[str, ...]
    reads: bool
    plain: bool
    used: Used = UNKNOWN

    def arguments(self, values: Mapping[str, Any] | None) -> list[Any]:
        """Return *values* in the order of the parameters; raises ValueError naming what is missing or too much."""
        names = self.names
        if not names and not values:
            return []
        given = values or {}
        try:
            arguments = [given[name] for name in names]
        except KeyError as error:
            raise ValueError(f"the statement needs a value for :{error.args[0]}: {self.sql}") from None
        if len(given) > len(names) or any(name not in names for name in given):
            unknown = ", ".join(f":{name}" for name in given if name not in names)
            raise ValueError(f"the statement has no {unknown}: {self.sql}")
        return arguments


class Reader:
    """Reads statements of one dialect; what was read lately is remembered. Where *trusting* is off, none is plain.

    *used_by* finds out which tables a statement uses that calls no unknown functions.
    """

    def __init__(self, placeholder: str, trusting: bool = True, used_by: UsedBy | None = None) -> None:
        self._placeholder = placeholder
        self._trusting = trusting
        self._used_by = used_by
        self._known: dict[str, Statement] = {}

    def statement(self, text: str) -> Statement:
        """Return the statement that *text* is."""
        found = self._known.get(text)
        if found is None:
            if len(self._known) >= MOST_REMEMBERED:
                self._known.clear()
            found = self._known[text] = self._read(text)
        return found

    def as_it_is(self, sql: str, used: Used | None = None) -> Statement:
        """Return the statement that *sql*, which has the driver's own placeholders, is; it has no names.

        *used* are its tables, where they are known.
        """
        code = "".join(_shadow(piece) if match else piece for piece, match in self._pieces(sql))
        return self._statement(sql, (), code, used)

    def _read(self, text: str) -> Statement:
        sql: list[str] = []
        code: list[str] = []
        names: list[str] = []
        for piece, match in self._pieces(text):
            if match is None:
                sql.append(piece)
                code.append(piece)
            elif match["name"]:
                sql.append(self._place_of(match["name"], names))
                code.append("?")
            else:
                sql.append(":" if match["escaped"] else piece)
                code.append(_shadow(piece))
        return self._statement("".join(sql), tuple(names), "".join(code))

    def _pieces(self, text: str) -> Iterator[tuple[str, re.Match[str] | None]]:
        end = 0
        while match := _TOKEN.search(text, end):
            yield text[end : match.start()], None
            end = match.end()
            if match["comment"] and self._placeholder == "$":
                end = _end_of_comment(text, match.start())
            yield text[match.start() : end], match
        yield text[end:], None

    def _statement(self, sql: str, names: tuple[str, ...], code: str, used: Used | None = None) -> Statement:
        reads, plain = nature(code)
        if used is None:
            used = self._used_by(sql) if self._used_by is not None and plain else UNKNOWN
        return Statement(sql, names, reads, plain and self._trusting, used)

    def _place_of(self, name: str, names: list[str]) -> str:
        """Return the placeholder of *name*; where places have numbers, a name has one however often it is used."""
        if self._placeholder == "?":
            names.append(name)
            return "?"
        if name not in names:
            names.append(name)
        return f"{self._placeholder}{names.index(name) + 1}"


def nature(code: str) -> tuple[bool, bool]:
    """Tell of *code*, a statement without its literals and comments, whether it reads only, and whether it is plain."""
    code = code.strip().rstrip(";").strip()
    words = [word.upper() for word in _WORD.findall(code)]
    if not words or ";" in code:
        return False, False
    first = _first_word(code, words)
    known = _calls_only_known(code)
    changes = not _CHANGES.isdisjoint(words)
    into = "INTO" in words
    into_new = "INTO" in _INSERT_INTO.sub("", code).upper()
    locks = "FOR" in words and not _LOCKS.isdisjoint(words)
    reads = first in _READS and known and not changes and not into and not locks
    plain = known and not into_new and first in (_READS | _CHANGES)
    return reads, plain


def _end_of_comment(text: str, start: int) -> int:
    """Return where the comment at *start* ends, as PostgreSQL sees it: comments inside have ends of their own."""
    depth = 0
    for mark in _COMMENT_MARK.finditer(text, start):
        depth += 1 if mark[0] == "/*" else -1
        if depth == 0:
            return mark.end()
    return len(text)


def _shadow(piece: str) -> str:
    """Return what stands for *piece* where only code counts: a quoted name followed by a bracket may be a call."""
    return '"' if piece[0] in '"`' else " "


def _first_word(code: str, words: list[str]) -> str:
    return words[0] if code.lstrip("( \n\t").upper().startswith(words[0]) else ""


def _calls_only_known(code: str) -> bool:
    without_lists = _COLUMN_LIST.sub("INTO (", code)
    return all(
        name.lower() in KNOWN and schema.lower() in ("", "pg_catalog") for schema, name in _CALL.findall(without_lists)
    )
