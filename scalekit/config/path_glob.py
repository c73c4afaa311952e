"""Path patterns of the file: ``*`` matches within a segment, ``**`` across segments."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Self
from urllib.parse import unquote

from scalekit.config.types import TextValue

MAX_DECODINGS = 3
"""Rounds of percent-decoding of a path that was encoded several times."""

PADDING = "\x00 \t\n\v\f\r"
"""Characters at the end of a segment that some frameworks ignore."""

_ENCODED_SLASH = re.compile(r"%2f|%5c|%2e(?:%2e)?(?=/|$)", re.IGNORECASE)
_UNENCODED = re.compile(r"%(?![0-9A-Fa-f]{2})")
_SEGMENTS = r"(?:/[^/]*)*?"


Matches = Callable[[str], re.Match[str] | None]


class PathGlob(TextValue, str):
    """A pattern of paths: ``/shops/*/items``, ``/static/**``.

    ``*`` matches any characters within a segment, ``**`` any number of segments, including none: ``/api/**`` matches
    ``/api`` too. A trailing slash is ignored. ``%2A`` is the character itself.
    """

    JSON_SCHEMA = {"type": "string", "pattern": "^/"}
    expression: str
    """The equivalent regular expression."""
    matches: Matches
    """Match a decoded path against the whole pattern."""

    def __new__(cls, text: str) -> Self:
        """Parse *text*; raises ValueError with the remedy when *text* is not a pattern."""
        if isinstance(text, cls):
            return text
        glob = super().__new__(cls, _validate(text))
        glob.expression = _expression(glob.segments)
        glob.matches = re.compile(glob.expression, re.DOTALL).fullmatch
        return glob

    @property
    def segments(self) -> list[str]:
        """The segments between slashes, not decoded; empty for ``/``."""
        return [segment for segment in self.split("/") if segment]


def path_variants(path: str) -> tuple[str, ...]:
    """Return *path* and, when it differs, the normalized path that some frameworks route by.

    Rules that protect or limit paths match both, so that a doubled slash, a dot segment, a backslash, a second
    percent-encoding or a trailing line feed (before which ``$`` of a regular expression matches) evades no rule.
    """
    normalized = _normalize(path)
    return (path,) if normalized == path else (path, normalized)


def case_insensitive_match(glob: str) -> Matches:
    """Return a case-insensitive matcher of *glob*, since some frameworks route without regard to case."""
    return re.compile(PathGlob(glob).expression, re.DOTALL | re.IGNORECASE).fullmatch


def _validate(text: object) -> str:
    if not isinstance(text, str) or not text.startswith("/"):
        remedy = f"; put a slash before it: {'/' + text!r}" if isinstance(text, str) else ""
        raise ValueError(f'expected a path such as "/shop", "/shop/*" or "/shop/**", got {text!r}{remedy}')
    for fault, remedy in _faults(text):
        if fault:
            raise ValueError(f"the path {text!r} {remedy}")
    return text


def _faults(text: str) -> list[tuple[object, str]]:
    """Return each possible mistake of *text*, true when it is present, with its remedy."""
    segments = text.split("/")[1:]
    mixed = next((each for each in segments if "**" in each and each != "**"), "")
    return [
        ("?" in text, "has a question mark; leave the query out, or write %3F for the character"),
        ("#" in text, "has a fragment, which clients do not send; leave it out, or write %23 for the character"),
        (
            re.search(r"[\[\]]", text),
            "has brackets; write * for any characters, or %5B %5D",
        ),
        (re.search(r"[{}]", text), 'has braces; write * for a parameter, as "/shops/*", or %7B %7D'),
        ("\\" in text, "has a backslash; write a slash"),
        (re.search(r"[\x00-\x1f\x7f]", text), "has a control character; leave it out"),
        (_UNENCODED.search(text), "has a % without two hexadecimal digits; write %25 for the character"),
        (_ENCODED_SLASH.search(text), "has an encoded slash or dot segment; write the decoded path"),
        ("***" in text, "has more than two stars in a row; write * or **"),
        (mixed, f'has ** next to other characters in {mixed!r}; make ** a segment of its own, as "/a/**/*b"'),
        ("//" in text, "has a doubled slash; write one"),
        ({".", ".."} & set(segments), "has a dot segment; write the path that it leads to"),
    ]


def _expression(segments: list[str]) -> str:
    """Return a regular expression that matches in at most quadratic time of the path's length.

    The first match of a run between two stars is sufficient, so the groups are atomic and never backtrack.
    """
    if segments == ["**"]:
        return ".*"
    runs: list[str] = [""]
    for segment in segments:
        if segment == "**":
            runs.append("")
        else:
            runs[-1] += "/" + _segment(segment)
    first, *others = runs
    if not others:
        return f"{first}/?"
    middle = "".join(f"(?>{_SEGMENTS}{run}(?=/|\\Z))" for run in others[:-1] if run)
    return first + middle + (f"{_SEGMENTS}{others[-1]}/?" if others[-1] else "(?:/.*)?")


def _segment(segment: str) -> str:
    first, *others = [re.escape(unquote(part, errors="surrogateescape")) for part in segment.split("*")]
    if not others:
        return first
    return first + "".join(f"(?>[^/]*?{part})" for part in others[:-1]) + f"[^/]*{others[-1]}"


def _normalize(path: str) -> str:
    for _ in range(MAX_DECODINGS):
        decoded = unquote(path, errors="surrogateescape") if "%" in path else path
        if decoded == path:
            break
        path = decoded
    done: list[str] = []
    for segment in path.replace("\\", "/").split("/"):
        segment = segment.partition(";")[0].rstrip(PADDING)
        if segment == "..":
            del done[-1:]
        elif segment and segment != ".":
            done.append(segment)
    return "/" + "/".join(done) + ("/" if done and path.endswith("/") else "")
