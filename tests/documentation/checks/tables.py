"""Every column of a table has a name, which screen readers announce with each cell."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.documentation.checks.markdown import tokens_of
from tests.documentation.checks.problem import Problem


def nameless_columns(document: Path) -> Iterator[Problem]:
    """Yield each table of *document* that has a column without a name."""
    tokens = tokens_of(document.read_text())
    for index, token in enumerate(tokens):
        if token.type == "th_open" and not tokens[index + 1].content:
            line = next(before.map[0] for before in reversed(tokens[:index]) if before.map) + 1
            yield Problem(document, line, "a column of the table has no name")
