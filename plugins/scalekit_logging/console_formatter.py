"""Format lines for a terminal: one row each, optionally in color, with control characters escaped."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import orjson

COLOURS = {"debug": "\x1b[2m", "info": "\x1b[32m", "warning": "\x1b[33m", "error": "\x1b[31m", "critical": "\x1b[1;31m"}
FAINT, BOLD, RESET = "\x1b[2m", "\x1b[1m", "\x1b[0m"
BLOCKS = ("exception", "stack")
"""Multi-line fields, printed indented below the row."""

_OMITTED = ("timestamp", "level", "event", "trace_id", *BLOCKS)
# C0 and C1 controls, line and paragraph separators, and bidirectional formatting characters.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_UNQUOTED = re.compile(r"[^\s\"'=]+")

LineFormat = Callable[[list[bytes]], list[bytes]]


def format_json(lines: list[bytes]) -> list[bytes]:
    """Return *lines* unchanged: they are JSON."""
    return lines


def format_plain(lines: list[bytes]) -> list[bytes]:
    """Return *lines* as rows without color."""
    return [_format_row(line, _plain) for line in lines]


def format_coloured(lines: list[bytes]) -> list[bytes]:
    """Return *lines* as rows with ANSI colours."""
    return [_format_row(line, _colour) for line in lines]


def _format_row(line: bytes, paint: Callable[[str, str], str]) -> bytes:
    fields: dict[str, Any] = orjson.loads(line)
    level = fields["level"]
    head = [
        paint(FAINT, fields["timestamp"][11:23]),
        paint(COLOURS[level], f"{level.upper():<8}"),
        paint(BOLD, escape_controls(_text(fields["event"]))),
    ]
    shown = [(name, value) for name, value in fields.items() if name not in _OMITTED]
    pairs = [f"{paint(FAINT, escape_controls(name) + '=')}{_format_value(value)}" for name, value in shown]
    blocks = [f"    {escape_controls(row)}" for name in BLOCKS for row in _text(fields.get(name, "")).splitlines()]
    return "\n".join([" ".join(head + pairs), *blocks, ""]).encode()


def escape_controls(text: str) -> str:
    """Return *text* with every character that a terminal interprets as a ``\\uXXXX`` escape."""
    return _CONTROLS.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _format_value(value: object) -> str:
    text = _text(value)
    quoted = isinstance(value, str) and not _UNQUOTED.fullmatch(text)
    return escape_controls(orjson.dumps(text).decode() if quoted else text)


def _text(value: object) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _colour(code: str, text: str) -> str:
    return f"{code}{text}{RESET}"


def _plain(code: str, text: str) -> str:
    return text
