"""Take attributes over from the application, as values that it can no longer change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MAX_TEXT = 16_384
"""Characters of an attribute's text that are exported."""
MAX_ATTRIBUTES = 128
"""Attributes of a span, and items of a sequence, that are exported."""

Attributes = dict[str, Any]
"""Values by the name of the attribute: texts, numbers, booleans, or sequences of one of these."""

_UNCHANGEABLE = frozenset((int, float, bool))


def are_unchangeable(attributes: Mapping[str, Any]) -> bool:
    """Return whether no value of *attributes* needs a copy: numbers, booleans, and texts of a limited length."""
    for value in attributes.values():
        kind = type(value)
        if kind not in _UNCHANGEABLE and (kind is not str or len(value) > MAX_TEXT):
            return False
    return True


def copied_attributes(attributes: Mapping[str, Any]) -> Attributes:
    """Return a copy of *attributes* without objects of the application; those that are no values become text.

    A trace that waits for its export must not keep requests or rows in memory, nor call them in another thread.
    """
    return {name: value if type(value) in _UNCHANGEABLE else _copied_value(value) for name, value in attributes.items()}


def _copied_value(value: object) -> object:
    if isinstance(value, list | tuple):
        return tuple(each if type(each) in _UNCHANGEABLE else text_of(each) for each in value[:MAX_ATTRIBUTES])
    return text_of(value)


def text_of(value: object) -> str:
    """Return *value* as text of at most MAX_TEXT characters, whatever its ``str`` raises."""
    if isinstance(value, str):
        return str.__str__(value)[:MAX_TEXT]
    try:
        return str(value)[:MAX_TEXT]
    except Exception as error:
        return f"<{type(value).__name__}: {type(error).__name__}>"
