"""Which headers of a request select an answer, and in which form they are compared (RFC 9111, section 4.1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache

ANYTHING = b"*"
IDENTITY = b":identity"
IDENTITY_WITHOUT_COOKIES = b":identity-without-cookies"
"""Stand in a list of names for who asks; no header has such a name."""
MOST = 16
"""Names that an answer may vary by; with more it is not worth keeping."""

LONGEST_REMEMBERED = 256
"""Bytes of a value whose form is remembered; most clients send one of a few."""

_UNORDERED = frozenset({b"accept-encoding", b"accept-charset"})
"""Lists whose order says nothing. That of languages and media types does to many an application."""


def vary_names(values: Iterable[bytes]) -> tuple[bytes, ...]:
    """Return the names in the ``Vary`` fields *values*, in lower case and sorted."""
    names = {name.strip().lower() for value in values for name in value.split(b",")}
    return tuple(sorted(names - {b""}))


def normalised(name: bytes, value: bytes | None) -> bytes:
    """Return the form of *value* that is compared: blanks do not count, nor order where the field has none.

    A header that is not there differs from one that is empty.
    """
    if value is None:
        return b"\0"
    return _remembered(name, value) if len(value) <= LONGEST_REMEMBERED else _normalised(name, value)


def _normalised(name: bytes, value: bytes) -> bytes:
    if b"," not in value or b'"' in value:  # what is quoted may hold commas and blanks of its own
        return value.strip()
    parts = [part.strip() for part in value.split(b",")]
    if name in _UNORDERED:
        parts = sorted({part.replace(b" ", b"").lower() for part in parts if part})
    return b",".join(parts)


_remembered = lru_cache(maxsize=2048)(_normalised)


def selecting(names: Iterable[bytes], headers: Mapping[bytes, bytes]) -> tuple[bytes, ...]:
    """Return what an answer that varies by *names* is selected by."""
    return tuple([normalised(name, headers.get(name)) for name in names])
