"""Contract of what requests of other sites can do to users with cookies (CSRF), and of the protection against it."""

from __future__ import annotations

from scalekit.context import Key

CSRF_RISKS: Key[list[str]] = Key("CSRF risks")
"""What pages of other sites can do, a clause each; a hook appends to ``context.shared(CSRF_RISKS, list)``."""
CSRF_PROTECTION: Key[bool] = Key("CSRF protection", plugin="headers")
"""In the context where a plugin rejects requests of other sites; a hook adds it with ``context.shared``."""
