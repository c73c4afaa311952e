"""Markdown documents as tokens."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from markdown_it import MarkdownIt
from markdown_it.token import Token

_PARSER = MarkdownIt("commonmark").enable("table")


@lru_cache(maxsize=2)
def tokens_of(text: str) -> Sequence[Token]:
    """Return the tokens of a Markdown *text*, which several checks read in turn."""
    return _PARSER.parse(text)
