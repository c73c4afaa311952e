"""The path by which rules for paths go."""

from __future__ import annotations

from starlette.types import Scope


def route_path(scope: Scope) -> str:
    """Return the path of *scope* below the prefix that a proxy or a mount has taken off."""
    path: str = scope["path"]
    prefix = scope.get("root_path")
    if not prefix or not path.startswith(prefix):
        return path
    below = path[len(prefix) :]
    return below if below.startswith("/") else path if below else "/"
