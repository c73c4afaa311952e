"""Suggest the nearest known name for an unknown one: of keys, tables, plugins, commands, columns and attributes."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def suggest_name(name: str, known: Iterable[str]) -> str:
    """Return the end of a message about the unknown *name*: the closest name of *known*, else all of them."""
    names = sorted(known)
    close = get_close_matches(name.lower(), names, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known: {', '.join(names)}" if names else "there are none"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a suggestion for the unknown *name* as the end of a message, empty when no known name is similar."""
    close = get_close_matches(name, [each for each in known if not each.startswith("_")], n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
