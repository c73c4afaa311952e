"""Rewrite pydantic's errors as messages in terms of TOML, with value and remedy, and without secrets."""

from __future__ import annotations

import json
import re
from typing import Any

from scalekit.config.password_mask import MASK, mask_passwords, mask_url
from scalekit.config.positions import Path

_LISTS = frozenset({"tuple_type", "list_type", "set_type", "frozen_set_type"})
_TABLES = frozenset({"dict_type", "model_type", "model_attributes_type", "dataclass_type"})
_BARE = re.compile(r"[A-Za-z0-9_-]+")


def missing_key_message(here: Path) -> str:
    """Return the message for a missing key at *here*."""
    if isinstance(here[-1], int):
        return f"a value is missing: {here[-2]} needs more than {here[-1]} values"
    return f"is required; write {_bare(here[-1])} = ... in {header(here[:-1])}"


def header(path: Path) -> str:
    """Return the header line of the table at *path*; with two brackets for an array of tables."""
    names = ".".join(_bare(part) for part in path if isinstance(part, str))
    return f"[[{names}]]" if path and isinstance(path[-1], int) else f"[{names}]"


def validation_message(detail: Any, value: Any, here: Path, *, secret: bool) -> str:
    """Return the message for the *detail* of a ValidationError about the *value* at *here*."""
    kind = detail["type"]
    shown = MASK if secret else _toml(value)
    got = f", got {shown}" if isinstance(value, bool | int | float | str) else ""
    if kind in _LISTS and not isinstance(value, list | dict):
        text = MASK if secret else mask_url(value) if isinstance(value, str) else None
        item = shown if text is None else json.dumps(text, ensure_ascii=False)
        return f"should be a list; write [{item}]" if got else "should be a list, in [ ]"
    if kind in _LISTS:
        return f"should be a list of tables; write [[{header(here)[1:-1]}]]"
    if kind in _TABLES:
        return f"should be a table; write {header(tuple(part for part in here if isinstance(part, str)))}{got}"
    if kind == "bool_type":
        return f"should be true or false, without quotes{got}"
    if kind in ("int_type", "float_type") and isinstance(value, str) and re.fullmatch(r"[+-]?[0-9.]+", value):
        return f"should be a number; write {MASK if secret else value} without quotes{got}"
    if kind == "string_type":
        return f"should be text in quotes{got}"
    if kind == "too_short":
        return f"needs at least {detail['ctx']['min_length']} value{'s' * (detail['ctx']['min_length'] > 1)}, got []"
    return _other(detail, value, got, secret=secret)


def _other(detail: Any, value: Any, got: str, *, secret: bool) -> str:
    message: str = detail["msg"].removeprefix("Value error, ").replace("Input should be", "should be")
    if "got" not in message:
        message += got
    if secret:
        message = message.replace(repr(value), MASK)
    elif isinstance(value, str):
        message = message.replace(repr(value), repr(mask_url(value)))
    return mask_passwords(message[:1].lower() + message[1:])


def _bare(name: str | int) -> str:
    text = str(name)
    return text if _BARE.fullmatch(text) else json.dumps(text, ensure_ascii=False)


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return repr(mask_url(value)) if isinstance(value, str) else str(value)
