"""Format lines for a terminal: one row each, with colours, and control characters escaped."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import orjson

COLOURS = {"debug": "\x1b[2m", "info": "\x1b[32m", "warning": "\x1b[33m", "error": "\x1b[31m", "critical": "\x1b[1;31m"}
FAINT, BOLD, PLAIN = "\x1b[2m", "\x1b[1m", "\x1b[0m"
BLOCKS = ("exception", "stack")
"""Fields of several rows, shown below their line."""

_LEFT_OUT = ("timestamp", "level", "event", "trace_id", *BLOCKS)
# Controls of both kinds, separators of lines, and what turns the direction of writing.
_OBEYED = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_BARE = re.compile(r"[^\s\"'=]+")

LineFormat = Callable[[list[bytes]], list[bytes]]


def format_json(lines: list[bytes]) -> list[bytes]:
    """Return *lines*, which are JSON."""
    return lines


def pretty(lines: list[bytes]) -> list[bytes]:
    """Return *lines* for a person to read."""
    return [_pretty(line, _plain) for line in lines]


def format_coloured(lines: list[bytes]) -> list[bytes]:
    """Return *lines* for a person at a terminal."""
    return [_pretty(line, _colour) for line in lines]


def _pretty(line: bytes, paint: Callable[[str, str], str]) -> bytes:
    fields: dict[str, Any] = orjson.loads(line)
    level = fields["level"]
    head = [
        paint(FAINT, fields["timestamp"][11:23]),
        paint(COLOURS[level], f"{level.upper():<8}"),
        paint(BOLD, escape_controls(_text(fields["event"]))),
    ]
    shown = [(name, value) for name, value in fields.items() if name not in _LEFT_OUT]
    pairs = [f"{paint(FAINT, escape_controls(name) + '=')}{_value(value)}" for name, value in shown]
    blocks = [f"    {escape_controls(row)}" for name in BLOCKS for row in _text(fields.get(name, "")).splitlines()]
    return "\n".join([" ".join(head + pairs), *blocks, ""]).encode()


def escape_controls(text: str) -> str:
    """Return *text* with everything that a terminal obeys written as an escape."""
    return _OBEYED.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _value(value: Any) -> str:
    text = _text(value)
    return escape_controls(text if not isinstance(value, str) or _BARE.fullmatch(text) else orjson.dumps(text).decode())


def _text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _colour(code: str, text: str) -> str:
    return f"{code}{text}{PLAIN}"


def _plain(code: str, text: str) -> str:
    return text
