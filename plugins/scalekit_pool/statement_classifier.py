"""Parse a statement's text once: find its parameters, and classify it as read-only or as leaving the session clean.

The classification is conservative: a statement not known to be read-only counts as a write, and one not known to leave
the session clean makes the pool reset the connection.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from scalekit.contracts import Values
from scalekit_pool.connections.driver import Arguments
from scalekit_pool.fingerprint import fingerprint_of
from scalekit_pool.safe_functions import CLEAN_FUNCTIONS, PLUGIN_PREFIX, SAFE_FUNCTIONS
from scalekit_pool.table_usage import UNKNOWN_TABLES, FindTables, TableUsage

MAX_CACHED_STATEMENTS = 1000

_TOKEN = re.compile(
    r"""(?P<skipped>(?<![\w$])[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|"(?:[^"]|"")*"|`[^`]*`|--[^\r\n]*"""
    r"""|(?<![\w$])\$(?P<tag>(?:[^\W\d]\w*)?)\$.*?\$(?P=tag)\$)|(?P<comment>/\*.*?(?:\*/|\Z))|(?P<escaped>\\:)"""
    r"""|(?P<cast>::+)|(?<![\w:]):(?P<name>[A-Za-z_]\w*)""",
    re.DOTALL,
)
_MYSQL_TOKEN = re.compile(
    r"""(?P<skipped>'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.|"")*"|`[^`]*`|--(?=\s|\Z)[^\r\n]*|\#[^\r\n]*)"""
    r"""|(?P<comment>/\*.*?(?:\*/|\Z))|(?P<escaped>\\:)|(?<![\w:]):(?P<name>[A-Za-z_]\w*)""",
    re.DOTALL,
)
_EXECUTED_COMMENT = re.compile(r"/\*M?!")
_USER_VARIABLE = re.compile(r"(?<!@)@(?!@)")
"""A variable of MySQL, which lasts as long as the session."""
_COMMENT_MARK = re.compile(r"/\*|\*/")
_WORD = re.compile(r"[^\W\d][\w$]*")
_CALL = re.compile(r"(?:([\w$]+|\")\s*\.\s*)?([^\W\d][\w$]*|\")\s*\(")
_NAME_LIST = re.compile(
    r"""\bINTO\s+[\w.$"]+(?:\s+AS\s+\w+)?\s*\(|\bAS\s+[\w$"]+\s*\(|\bFETCH\s+(?:FIRST|NEXT)\s*\("""
    r"""|(?<=[\s,])[\w$"]+\s*\([\w$",\s]*\)\s*AS\s+(?:NOT\s+)?(?:MATERIALIZED\s+)?\(\s*(?=SELECT\b)""",
    re.IGNORECASE,
)
"""A bracket after a name that calls no function: the columns of INSERT, of an alias, or of a WITH query."""
_INSERT_INTO = re.compile(r"(^|[()])\s*(INSERT|MERGE|REPLACE)(\s+OR\s+\w+|\s+IGNORE)?\s+INTO\b", re.IGNORECASE)
_READS = frozenset({"SELECT", "WITH", "VALUES", "TABLE", "SHOW"})
_CHANGES = frozenset({"INSERT", "UPDATE", "DELETE", "MERGE", "REPLACE"})
_SCHEMA_CHANGES = frozenset({"ALTER", "CREATE", "DROP", "CALL", "DO"})
_LOCKS = frozenset({"SHARE", "UPDATE"})
_LOCK_WORDS = frozenset({"FOR", "LOCK"})
_PLACEHOLDERS = {"postgresql": "$"}
"""The prefix of numbered placeholders; other dialects have ``?`` for each value."""


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL text for the driver, with the names of its positional parameters.

    *is_read_only* means that it changes no data, *leaves_session_clean* that it changes no session state, and
    *changes_schema* that results of prepared statements may have other types. *tables* are found only when there is a
    table observer. *fingerprint* is equal for statements that differ in values only.
    """

    sql: str
    names: tuple[str, ...]
    is_read_only: bool
    leaves_session_clean: bool
    tables: TableUsage = UNKNOWN_TABLES
    fingerprint: str = ""
    changes_schema: bool = False

    def arguments(self, values: Values | None) -> Arguments:
        """Return *values* in parameter order; raise ValueError naming missing and unknown parameters."""
        names = self.names
        if not names and not values:
            return []
        provided = values or {}
        try:
            arguments = [provided[name] for name in names]
        except KeyError as error:
            raise ValueError(f"missing value for parameter :{error.args[0]}: {self.fingerprint}") from None
        if len(provided) > len(names) or any(name not in names for name in provided):
            unknown = ", ".join(f":{name}" for name in provided if name not in names)
            raise ValueError(f"unknown parameters {unknown}: {self.fingerprint}")
        return arguments


class StatementParser:
    """Parses statements of *dialect*, with a cache.

    Without *trust_safe_functions* no statement counts as leaving the session clean. *find_tables* returns the tables of
    a statement that calls only safe functions.
    """

    def __init__(self, dialect: str, trust_safe_functions: bool = True, find_tables: FindTables | None = None) -> None:
        self._dialect = dialect
        self._placeholder = _PLACEHOLDERS.get(dialect, "?")
        self._token = _MYSQL_TOKEN if dialect == "mysql" else _TOKEN
        self._trust_safe_functions = trust_safe_functions
        self._find_tables = find_tables
        self._statements: dict[str, Statement] = {}

    def parse(self, text: str) -> Statement:
        """Return the statement of *text*, which has ``:name`` parameters."""
        found = self._statements.get(text)
        if found is None:
            if len(self._statements) >= MAX_CACHED_STATEMENTS:
                self._statements.clear()
            found = self._statements[text] = self._parse(text)
        return found

    def parse_native(self, sql: str, tables: TableUsage | None = None) -> Statement:
        """Return the statement of *sql*, which has the driver's own placeholders and so no parameter names.

        *tables* are its tables, if they are known already.
        """
        code = "".join(self._shadow(piece) if match else piece for piece, match in self._pieces(sql))
        return self._statement(sql, (), code, tables)

    def _parse(self, text: str) -> Statement:
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
                code.append(self._shadow(piece))
        return self._statement("".join(sql), tuple(names), "".join(code))

    def _pieces(self, text: str) -> Iterator[tuple[str, re.Match[str] | None]]:
        end = 0
        while match := self._token.search(text, end):
            yield text[end : match.start()], None
            end = match.end()
            if match["comment"] and self._dialect == "postgresql":
                end = _end_of_comment(text, match.start())
            yield text[match.start() : end], match
        yield text[end:], None

    def _shadow(self, piece: str) -> str:
        """Return the code that replaces *piece*; a quoted name stays visible, since a bracket makes it a call."""
        if self._dialect == "mysql":
            return ";." if _EXECUTED_COMMENT.match(piece) else '"' if piece[0] == "`" else " "
        return '"' if piece[0] in '"`' else " "

    def _statement(self, sql: str, names: tuple[str, ...], code: str, tables: TableUsage | None = None) -> Statement:
        check_text(sql)
        is_read_only, leaves_session_clean = classify(code, SAFE_FUNCTIONS[self._dialect])
        if self._dialect == "mysql" and _USER_VARIABLE.search(code):
            leaves_session_clean = False
        if tables is None:
            tables = (
                self._find_tables(sql) if self._find_tables is not None and leaves_session_clean else UNKNOWN_TABLES
            )
        clean = leaves_session_clean and self._trust_safe_functions
        return Statement(
            sql, names, is_read_only, clean, tables, fingerprint_of(sql, self._dialect), changes_schema(code)
        )

    def _place_of(self, name: str, names: list[str]) -> str:
        """Return the placeholder of *name*; with numbered placeholders, each name has one however often it occurs."""
        if self._placeholder == "?":
            names.append(name)
            return "?"
        if name not in names:
            names.append(name)
        return f"{self._placeholder}{names.index(name) + 1}"


def check_text(sql: str) -> None:
    """Raise ValueError when the protocol of a database cannot carry *sql*, which would cost the connection."""
    place = sql.find("\0")
    if place < 0 and not sql.isascii():
        try:
            sql.encode()
        except UnicodeEncodeError as error:
            place = error.start
    if place >= 0:
        kind = "NUL" if sql[place] == "\0" else "a lone surrogate"
        raise ValueError(f"the text of the statement has {kind} at character {place}: remove it, or pass it as a value")


def classify(code: str, safe_functions: frozenset[str]) -> tuple[bool, bool]:
    """Return whether *code*, a statement without literals and comments, is read-only, and leaves the session clean.

    A statement that calls other than *safe_functions* may do anything.
    """
    code = code.strip().rstrip(";").strip()
    words = [word.upper() for word in _WORD.findall(code)]
    if not words or ";" in code:
        return False, False
    first = _first_word(code, words)
    calls = _calls(code)
    changes = not _CHANGES.isdisjoint(words)
    into = "INTO" in words
    into_new = "INTO" in _INSERT_INTO.sub("", code).upper()
    locks = not _LOCK_WORDS.isdisjoint(words) and not _LOCKS.isdisjoint(words)
    is_read_only = first in _READS and calls <= safe_functions and not changes and not into and not locks
    unknown = {name for name in calls - safe_functions - CLEAN_FUNCTIONS if not _is_of_plugin(name)}
    leaves_session_clean = not unknown and not into_new and first in (_READS | _CHANGES)
    return is_read_only, leaves_session_clean


def _is_of_plugin(function: str) -> bool:
    return function.startswith(PLUGIN_PREFIX) and "." not in function


def changes_schema(code: str) -> bool:
    """Return whether *code*, a statement without literals and comments, may change tables or types."""
    words = [word.upper() for word in _WORD.findall(code)]
    may_change = ";" in code.strip().rstrip(";") or (bool(words) and words[0] not in _READS | _CHANGES)
    return may_change and not _SCHEMA_CHANGES.isdisjoint(words)


def _end_of_comment(text: str, start: int) -> int:
    """Return where the comment at *start* ends in PostgreSQL, where comments nest."""
    depth = 0
    for mark in _COMMENT_MARK.finditer(text, start):
        depth += 1 if mark[0] == "/*" else -1
        if depth == 0:
            return mark.end()
    return len(text)


def _first_word(code: str, words: list[str]) -> str:
    return words[0] if code.lstrip("( \n\t").upper().startswith(words[0]) else ""


def _calls(code: str) -> set[str]:
    """Return the lower-case names of the functions that *code* calls, with their schema unless it is pg_catalog."""
    without_lists = _NAME_LIST.sub("AS (", code)
    return {
        name.lower() if schema.lower() in ("", "pg_catalog") else f"{schema}.{name}"
        for schema, name in _CALL.findall(without_lists)
    }
