"""The table ``[plugins.console]``."""

from __future__ import annotations

from scalekit import Duration, PositiveDuration, Table


class ConsoleConfig(Table):
    """Pages for operators below ``/-/``."""

    actions: bool = True
    """Operators may act, such as purge the cache; without it the pages only show."""
    mcp: bool = False
    """Offer the pages to agents as tools that only read, at ``/-/mcp`` (Model Context Protocol)."""
    session_ttl: PositiveDuration = Duration("8h")
    """Time after which an operator who has signed in with ``server.operator_token`` signs in again."""
    version: str = ""
    """Version of the application, which the index shows."""
    commit: str = ""
    """Commit of the application, which the index shows, such as ``"${GIT_COMMIT:-}"``."""
