"""By what things are purged: names that applications give, and paths."""

from __future__ import annotations

from urllib.parse import unquote

from scalekit import PathGlob

MOST_FOLDERS = 32
"""Folders of a path, counted from the root, by which what is below them can be purged."""


def name_tag(name: str) -> bytes:
    """Return the tag of a *name* that an application gives."""
    return b"tag:" + name.encode("utf-8", "surrogatepass")


def path_tags(path: str) -> tuple[bytes, ...]:
    """Return the tags of *path*: its own, that of what is in one folder with it, and those of what is below others."""
    whole = path.encode("utf-8", "surrogateescape").removesuffix(b"/")
    places = [place for place, byte in enumerate(whole) if byte == 0x2F][:MOST_FOLDERS]
    above = [b"below:" + whole[:place] for place in places]
    if len(places) < MOST_FOLDERS:
        above.append(b"below:" + whole)
    folder = b"in:" + whole.rpartition(b"/")[0]
    return (b"path:" + whole, folder, *([b"in:" + whole] if path.endswith("/") else ()), *above)


def path_tag(path: str) -> bytes:
    """Return the tag that purges *path*, which may end in ``/*`` or ``/**``; raises ValueError for other patterns."""
    segments = PathGlob(path).segments
    last = segments.pop() if segments and segments[-1] in ("*", "**") else ""
    if any("*" in each for each in segments):
        raise ValueError(
            f'what is kept cannot be purged by {path!r}: a star stands alone at the end, as "/shop/*" or "/shop/**";'
            " give the responses a tag in common, and purge that"
        )
    whole = "".join(f"/{unquote(each, errors='surrogateescape')}" for each in segments)
    kind = {"": b"path:", "*": b"in:", "**": b"below:"}[last]
    return kind + whole.encode("utf-8", "surrogateescape")
