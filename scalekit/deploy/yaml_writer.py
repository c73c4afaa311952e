"""Write YAML 1.2 from dictionaries, lists and scalars: block style, keys in the given order."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_WORD = r"[A-Za-z0-9_./@=+-]+(?::[A-Za-z0-9_./@=+-]+)*"
_PLAIN = re.compile(rf"(?=[A-Za-z_/]){_WORD}(?: {_WORD})*")
"""Texts that need no quotes: a letter, ``_`` or ``/`` first, and no sign that YAML interprets."""
_TYPED = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})
"""Texts that a reader of YAML 1.1 or 1.2 takes for another type than a text."""

Yaml = Mapping[str, Any] | Sequence[Any] | str | int | float | None


class VerbatimText(str):
    """A text that is written without quotes and checks, such as an expression of a template language."""

    __slots__ = ()


class EnclosedText(VerbatimText):
    """A verbatim text whose line, with its key, is between the lines *before* and *after*, such as a condition."""

    before: str
    after: str

    def __new__(cls, text: str, before: str, after: str) -> EnclosedText:
        """Return *text* with the two lines."""
        made = super().__new__(cls, text)
        made.before, made.after = before, after
        return made


def to_yaml(*documents: Yaml) -> str:
    """Return the text of the *documents*, separated by ``---``."""
    return "---\n".join("".join(f"{line}\n" for line in _block(each, "")) for each in documents)


def _block(value: Yaml, indent: str) -> Iterator[str]:
    if isinstance(value, Mapping) and value:
        for key, each in value.items():
            yield from _entry(f"{indent}{_scalar(key)}:", each, indent)
    elif isinstance(value, Sequence) and not isinstance(value, str) and value:
        for each in value:
            yield from _item(each, indent)
    else:
        yield f"{indent}{_leaf(value)}"


def _entry(head: str, value: Yaml, indent: str) -> Iterator[str]:
    """Yield the lines of a value after *head*, its key."""
    if isinstance(value, EnclosedText):
        yield from (value.before, f"{head} {value}", value.after)
    elif isinstance(value, str) and _is_literal(value):
        yield f"{head} |" if value.endswith("\n") else f"{head} |-"
        yield from (f"{indent}  {line}" if line else "" for line in value.removesuffix("\n").split("\n"))
    elif isinstance(value, Mapping | Sequence) and not isinstance(value, str) and value:
        yield head
        yield from _block(value, f"{indent}  ")
    else:
        yield f"{head} {_leaf(value)}"


def _item(value: Yaml, indent: str) -> Iterator[str]:
    """Yield the lines of an element of a list; a table or list begins beside its dash."""
    if isinstance(value, str) and _is_literal(value):
        yield from _entry(f"{indent}-", value, indent)
        return
    first, *rest = _block(value, f"{indent}  ")
    yield f"{indent}- {first[len(indent) + 2 :]}"
    yield from rest


def _is_literal(text: str) -> bool:
    """Return whether *text* is of several lines that a literal block preserves."""
    if isinstance(text, VerbatimText) or "\n" not in text:
        return False
    lines = text.removesuffix("\n").split("\n")
    is_printable = all(line.replace("\t", "").isprintable() and line == line.rstrip() for line in lines)
    return is_printable and bool(lines[-1]) and bool(lines[0][:1].strip())


def _leaf(value: Yaml) -> str:
    if isinstance(value, str):
        return _scalar(value)
    if isinstance(value, Mapping):
        return "{}"
    if isinstance(value, Sequence):
        return "[]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)


def _scalar(text: str) -> str:
    if isinstance(text, VerbatimText) or (_PLAIN.fullmatch(text) and text.lower() not in _TYPED):
        return str(text)
    return "".join(each if each.isprintable() else _escape(each) for each in json.dumps(text, ensure_ascii=False))


def _escape(character: str) -> str:
    """Return the escape of a character that is not printable (YAML 1.2.2, section 5.7)."""
    number = ord(character)
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
