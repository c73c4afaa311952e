"""The Markdown documents of the repository."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
NOT_OURS = {".venv", "build", "node_modules", ".git", "__pycache__"}
"""Folders that are skipped; they have tens of thousands of files."""


def documents() -> Iterator[Path]:
    """Yield the documents in a fixed order."""
    for folder, folders, files in os.walk(ROOT):
        folders[:] = sorted(set(folders) - NOT_OURS)
        yield from (Path(folder, name) for name in sorted(files) if name.endswith(".md"))
