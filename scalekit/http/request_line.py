"""The method and the path of a request, as rules match them."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.types import Scope


def route_path(scope: Scope) -> str:
    """Return the path of *scope* without the prefix that a proxy or a mount has removed (``root_path``)."""
    path: str = scope["path"]
    prefix = scope.get("root_path")
    if not prefix or not path.startswith(prefix):
        return path
    below = path[len(prefix) :]
    return below if below.startswith("/") else path if below else "/"


def with_head(methods: Iterable[str]) -> frozenset[str]:
    """Return *methods*, with HEAD when GET is among them: one handler serves both (RFC 9110, section 9.3.2)."""
    names = frozenset(methods)
    return names | {"HEAD"} if "GET" in names else names
