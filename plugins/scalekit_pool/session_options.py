"""The options of ORM sessions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from scalekit.contracts import ReadRouter


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """The options of ORM sessions: their class as ``module:Class``, and a function that returns the current router."""

    session_class: str = "sqlalchemy.ext.asyncio:AsyncSession"
    find_router: Callable[[], ReadRouter | None] = lambda: None


DEFAULT_OPTIONS = SessionOptions()
"""Sessions of SQLAlchemy's own class, without replicas."""
