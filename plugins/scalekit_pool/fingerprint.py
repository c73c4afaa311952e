"""Normalize statements, so that those that differ in values only are equal."""

from __future__ import annotations

import re

# A text that is not closed is a literal to the end. Quotes inside of names and comments begin no text.
TOKEN = re.compile(
    r"""(?P<name>"[^"]*(?:"|$)|`[^`]*(?:`|$))|(?P<comment>--[^\n]*|/\*.*?(?:\*/|$))"""
    r"""|\b[eE]'(?:[^'\\]|\\.|'')*(?:'|$)|(?:\b(?:[uU]&|[bBxXnN]))?'(?:[^']|'')*(?:'|$)"""
    r"""|(?<![\w$])\$(?P<tag>(?:[^\W\d]\w*)?)\$.*?(?:\$(?P=tag)\$|$)"""
    r"""|(?<![\w$:.])[+-]?(?:0[xXoObB][\da-fA-F_]+|(?:\d[\d_]*(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)(?!\w)|\$\d+|%s""",
    re.DOTALL,
)
# In MySQL double quotes enclose texts, backslashes escape, and a comment that begins with /*! is executed.
_MYSQL_TOKEN = re.compile(
    r"""(?P<name>`[^`]*(?:`|$))|(?P<comment>--(?=\s|$)[^\n]*|\#[^\n]*|/\*(?!M?!).*?(?:\*/|$))"""
    r"""|(?:\b[bBxXnN])?'(?:[^'\\]|\\.|'')*(?:'|$)|"(?:[^"\\]|\\.|"")*(?:"|$)"""
    r"""|(?<![\w$:.])[+-]?(?:0[xXbB][\da-fA-F]+|(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)(?!\w)""",
    re.DOTALL,
)
MAX_SHOWN = 2000
"""Characters of a statement in a message."""

_LIST = re.compile(r"\(\s*\?(?:\s*,\s*\?)*\s*\)")
_LISTS = re.compile(r"\(\?\)(?:\s*,\s*\(\?\))+")
_SPACE = re.compile(r"\s+")


def without_literals(sql: str, dialect: str) -> str:
    """Return *sql* without comments, and with ``?`` in place of literal values and numbered parameters."""
    return _token(dialect).sub(_replacement, sql)


def count_placeholders(sql: str, dialect: str) -> int:
    """Return how many ``?`` of *sql* are placeholders."""
    return _token(dialect).sub("", sql).count("?")


def shown_statement(sql: str, dialect: str) -> str:
    """Return *sql* without values, as messages and logs show it: at most MAX_SHOWN characters."""
    return fingerprint_of(sql[: 4 * MAX_SHOWN], dialect)[:MAX_SHOWN]


def _token(dialect: str) -> re.Pattern[str]:
    return _MYSQL_TOKEN if dialect == "mysql" else TOKEN


def _replacement(token: re.Match[str]) -> str:
    return token["name"] or (" " if token["comment"] else "?")


def fingerprint_of(sql: str, dialect: str) -> str:
    """Return *sql* without values, with one ``(?)`` for a list of any length, and with single spaces."""
    return _LISTS.sub("(?)", _LIST.sub("(?)", _SPACE.sub(" ", without_literals(sql, dialect)))).strip()
