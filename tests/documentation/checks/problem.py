"""A mistake in a document."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from tests.documents import ROOT


class Problem(NamedTuple):
    """A mistake in *line* of *document*, as editors and terminals link it."""

    document: Path
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.document.relative_to(ROOT)}:{self.line}: {self.message}"
