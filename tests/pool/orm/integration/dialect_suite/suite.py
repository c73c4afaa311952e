"""SQLAlchemy's suite for dialects of third parties; ``test_dialect_suite.py`` runs it in a process of its own."""

from __future__ import annotations

from typing import Any

from sqlalchemy.testing.suite import *  # noqa: F403 # pyright: ignore[reportWildcardImportFromLibrary] # the tests


def _is_server_side(self: object, cursor: Any) -> bool:
    """Return whether *cursor* is one; the original knows the drivers of SQLAlchemy only."""
    return bool(cursor.server_side)


ServerSideCursorsTest._is_server_side = _is_server_side  # type: ignore[method-assign] # noqa: F405 - of the suite
