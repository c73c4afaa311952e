"""Normalize statements, so that those that differ in values only are equal."""

from __future__ import annotations

import re

_LITERAL = re.compile(r"'(?:[^']|'')*'|(?<![\w$:.])[+-]?\d+(?:\.\d+)?(?!\w)|\$\d+|%s")
_LIST = re.compile(r"\(\s*\?(?:\s*,\s*\?)*\s*\)")
_LISTS = re.compile(r"\(\?\)(?:\s*,\s*\(\?\))+")
_SPACE = re.compile(r"\s+")


def without_literals(sql: str) -> str:
    """Return *sql* with ``?`` in place of literal values and numbered parameters."""
    return _LITERAL.sub("?", sql)


def fingerprint_of(sql: str) -> str:
    """Return *sql* without values, with one ``(?)`` for a list of any length, and with single spaces."""
    return _LISTS.sub("(?)", _LIST.sub("(?)", _SPACE.sub(" ", without_literals(sql)))).strip()
