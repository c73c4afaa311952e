"""The methods of HTTP that something is for."""

from __future__ import annotations

from collections.abc import Iterable


def with_head(methods: Iterable[str]) -> frozenset[str]:
    """Return *methods*, and HEAD where GET is one: the same handler serves both (RFC 9110, section 9.3.2)."""
    named = frozenset(methods)
    return named | {"HEAD"} if "GET" in named else named
