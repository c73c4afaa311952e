"""The one dialect of path patterns in the file: ``*`` within a segment, ``**`` across segments."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Self
from urllib.parse import unquote

from scalekit.config.types import TextValue

MAX_DECODINGS = 3
"""How often a path that was percent-encoded several times is decoded."""

PADDING = "\x00 \t\n\v\f\r"
"""Characters at the end of a segment that some do not look at."""

_ENCODED_SLASH = re.compile(r"%2f|%5c|%2e(?:%2e)?(?=/|$)", re.IGNORECASE)
_UNENCODED = re.compile(r"%(?![0-9A-Fa-f]{2})")
_SEGMENTS = r"(?:/[^/]*)*?"


Matches = Callable[[str], re.Match[str] | None]


class PathGlob(TextValue, str):
    """A pattern of paths: ``/shops/*/items``, ``/static/**``.

    ``*`` stands for any characters within a segment, ``**`` for any number of segments, none included: ``/api/**`` is
    ``/api`` too. A slash at the end does not count. ``%2A`` is the character, as in every path.
    """

    JSON_SCHEMA = {"type": "string", "pattern": "^/"}
    expression: str
    """The regular expression that stands for it."""
    matches: Matches
    """Whether a path, as it is after decoding, matches the whole pattern."""

    def __new__(cls, text: str) -> Self:
        """Read *text*; raises ValueError, with the remedy, for what is no pattern."""
        if isinstance(text, cls):
            return text
        glob = super().__new__(cls, _validate(text))
        glob.expression = _expression(glob.segments)
        glob.matches = re.compile(glob.expression, re.DOTALL).fullmatch
        return glob

    @property
    def segments(self) -> list[str]:
        """The pieces between its slashes, as they are written; none for ``/``."""
        return [segment for segment in self.split("/") if segment]


def path_variants(path: str) -> tuple[str, ...]:
    """Return *path* and, where it differs, how a framework that tidies paths up may read it.

    What is to be protected or limited is looked for under both: a doubled slash, a dot segment, a backslash or a second
    percent-encoding hides nothing, nor does a line feed at the end, before which ``$`` matches in a regular expression.
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
    """Return what would be wrong with *text*, where it is, and the remedy."""
    segments = text.split("/")[1:]
    mixed = next((each for each in segments if "**" in each and each != "**"), "")
    return [
        ("?" in text, "has a question mark; a pattern is of the path alone, so leave the query out, or write %3F"),
        ("#" in text, "has a fragment, which no server sees; leave it out, or write %23"),
        (
            re.search(r"[\[\]]", text),
            "has brackets; write * for any characters, or %5B %5D",
        ),
        (re.search(r"[{}]", text), 'has braces; write * for a parameter, as "/shops/*", or %7B %7D'),
        ("\\" in text, "has a backslash; write a slash"),
        (re.search(r"[\x00-\x1f\x7f]", text), "has a control character; leave it out"),
        (_UNENCODED.search(text), "has a % without two hexadecimal digits; write %25 for the character"),
        (_ENCODED_SLASH.search(text), "has an encoded slash or dot segment; write the path as it is after decoding"),
        ("***" in text, "has more than two stars in a row; write * or **"),
        (mixed, f'has ** beside other characters in {mixed!r}; give it a segment of its own, as "/a/**/*b"'),
        ("//" in text, "has a doubled slash; write one"),
        ({".", ".."} & set(segments), "has a dot segment; write the path that it leads to"),
    ]


def _expression(segments: list[str]) -> str:
    """Return a regular expression whose time grows no faster than the square of a path's length.

    The first place that fits what stands between two stars is always good enough, so none is given up again: atomic.
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
