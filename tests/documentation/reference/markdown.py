"""Tables and text of Markdown from docstrings and values."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table, or an empty text without *rows*."""
    lines = [f"| {' | '.join(map(_cell, row))} |" for row in rows]
    if not lines:
        return ""
    return "\n".join([f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *lines]) + "\n"


def prose(docstring: str | None) -> str:
    """Return a docstring as Markdown: code in double backquotes and references become code in single ones."""
    text = inspect.cleandoc(docstring or "")
    text = re.sub(r":\w+:`~?(.+?)`", r"`\1`", text)
    return re.sub(r"``(.+?)``", r"`\1`", text)


def first_sentence(docstring: str | None) -> str:
    """Return the first paragraph of a docstring on one line, as Markdown."""
    return " ".join(prose(docstring).partition("\n\n")[0].split())


def code(text: str) -> str:
    """Return *text* as code in a line."""
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def _cell(text: str) -> str:
    return re.sub(r"(?<!\\)\|", r"\\|", " ".join(text.split()))
