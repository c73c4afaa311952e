"""Parse ``Cache-Control`` and targeted fields into directives (RFC 9111, section 5.2; RFC 9213)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache

MAX_SECONDS = 2**31
"""The value of every larger number (RFC 9111, section 1.2.2)."""
INVALID = 0
"""The value of an argument that is no number: it makes a response stale, never fresh."""

Directives = Mapping[str, str | None]

_ELEMENT = re.compile(
    rb'[\s,]*+(?P<name>[^\s,="]++)(?P<before>\s*+)(?:=(?P<after>\s*+)(?:"(?P<quoted>(?:[^"\\]|\\.)*+)"|(?P<plain>[^\s,"]*+)))?'
)
# The subset of an RFC 9651 dictionary that directives need; anything else makes the whole field invalid.
_KEY = rb"[a-z*][a-z0-9_.*-]*"
_BARE = rb'(?:-?\d{1,15}|\?[01]|"(?:[ !#-\[\]-~]|\\["\\])*"|[A-Za-z*][!#$%&\'*+.^_`|~\w:/-]*)'
_PARAMETERS = rb"(?:;[ ]*" + _KEY + rb"(?:=" + _BARE + rb")?)*"
_MEMBER = re.compile(rb"(?P<key>" + _KEY + rb")(?:=(?P<value>" + _BARE + rb"))?" + _PARAMETERS)
_BETWEEN = re.compile(rb"[ \t]*,[ \t]*")


@lru_cache(maxsize=512)
def parse_cache_control(value: bytes) -> Directives:
    """Return the directives of a ``Cache-Control`` field by name in lower case; the first of a repeated one counts."""
    found: dict[str, str | None] = {}
    for match in _ELEMENT.finditer(value):
        name = match["name"].decode("latin-1").lower()
        argument = match["plain"] if match["quoted"] is None else re.sub(rb"\\(.)", rb"\1", match["quoted"])
        if argument is not None and (match["before"] or match["after"]):
            argument = b""  # blanks around "=" are invalid
        found.setdefault(name, None if argument is None else argument.decode("latin-1"))
    return found


@lru_cache(maxsize=512)
def parse_targeted(value: bytes) -> Directives | None:
    """Return the directives of a targeted field such as ``CDN-Cache-Control``, or None when it is invalid."""
    found: dict[str, str | None] = {}
    try:
        for key, text in _members(value.strip(b" ")):
            found.pop(key, None)
            if text != "?0":
                found[key] = None if text in (None, "?1") else text
    except ValueError:
        return None
    return found or None


def _members(value: bytes) -> Iterator[tuple[str, str | None]]:
    place = 0
    while place < len(value):
        match = _MEMBER.match(value, place)
        if match is None:
            raise ValueError("not a dictionary member")
        yield match["key"].decode(), None if match["value"] is None else match["value"].decode()
        between = _BETWEEN.match(value, match.end())
        if match.end() == len(value):
            return
        if between is None or between.end() == len(value):
            raise ValueError("no comma between dictionary members")
        place = between.end()


def seconds(directives: Directives, name: str) -> int | None:
    """Return the argument of the directive *name* in seconds, None without it, INVALID when it is no number."""
    if name not in directives:
        return None
    text = directives[name]
    return (
        min(int(text), MAX_SECONDS) if text and text.isascii() and text.isdigit() and len(text) < 20 else _clamp(text)
    )


def _clamp(text: str | None) -> int:
    return MAX_SECONDS if text and text.isascii() and text.isdigit() else INVALID
