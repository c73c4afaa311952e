"""Take attributes over from the application, as values that it can no longer change, within limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MAX_TEXT = 16_384
"""Characters of an attribute's text that are exported."""
MAX_COPIED_TEXT = 2 * MAX_TEXT
"""Characters of a text that are copied: it is cut to MAX_TEXT after its secrets are masked, and so not within one."""
MAX_ATTRIBUTES = 128
"""Attributes of a span, and items of a sequence, that are exported."""
ATTRIBUTE_SIZE = 16
"""What an attribute counts, besides its characters, in the size of a trace."""

Attributes = dict[str, Any]
"""Values by the name of the attribute: texts, numbers, booleans, or sequences of one of these."""

_UNCHANGEABLE = frozenset((int, float, bool))


def size_without_copy(name: object, attributes: Mapping[str, Any]) -> int:
    """Return the size of a span that needs no copy: few numbers, booleans, and short texts; -1 for any other."""
    if type(name) is not str or len(attributes) > MAX_ATTRIBUTES:
        return -1
    size = len(name) + ATTRIBUTE_SIZE * len(attributes)
    for key, value in attributes.items():
        kind = type(value)
        size += len(key)
        if kind is str:
            size += len(value)
        elif kind not in _UNCHANGEABLE:
            return -1
    return size if size <= MAX_TEXT else -1


def copied_attributes(attributes: Mapping[str, Any], max_size: int) -> Attributes:
    """Return a copy of *attributes* without objects of the application: values that are no attributes become text.

    A trace that waits for its export must not keep requests or rows in memory, nor call them in another thread. Those
    above MAX_ATTRIBUTES or *max_size* are counted in ``scalekit.dropped_attributes``.
    """
    copied: Attributes = {}
    limit = MAX_ATTRIBUTES if len(attributes) <= MAX_ATTRIBUTES else MAX_ATTRIBUTES - 1
    for name, value in attributes.items():
        if type(value) not in _UNCHANGEABLE:
            value = _copied_value(value)
        max_size -= _size_of(name, value)
        if len(copied) == limit or max_size < 0:
            break
        copied[name] = value
    if len(copied) < len(attributes):
        copied["scalekit.dropped_attributes"] = len(attributes) - len(copied)
    return copied


def size_of(attributes: Attributes) -> int:
    """Return the size of copied attributes: their characters, and a constant for each."""
    return sum(_size_of(name, value) for name, value in attributes.items())


def _size_of(name: str, value: object) -> int:
    if isinstance(value, tuple):
        return ATTRIBUTE_SIZE + len(name) + sum(_size_of("", each) for each in value)
    return ATTRIBUTE_SIZE + len(name) + (len(value) if isinstance(value, str) else 0)


def _copied_value(value: object) -> str | tuple[object, ...]:
    if not isinstance(value, list | tuple):
        return text_of(value)
    try:
        return tuple(each if type(each) in _UNCHANGEABLE else text_of(each) for each in value[:MAX_ATTRIBUTES])
    except Exception as error:  # a subclass of the application, such as a list that loads its items
        return _failed(value, error)


def text_of(value: object) -> str:
    """Return *value* as text of at most MAX_COPIED_TEXT characters, whatever its ``str`` raises."""
    if isinstance(value, str):
        return str.__str__(value)[:MAX_COPIED_TEXT]
    try:
        return str(value)[:MAX_COPIED_TEXT]
    except Exception as error:
        return _failed(value, error)


def _failed(value: object, error: Exception) -> str:
    return f"<{type(value).__name__}: {type(error).__name__}>"
