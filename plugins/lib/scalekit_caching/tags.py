"""Tags by which items are purged: names that applications choose, and paths."""

from __future__ import annotations

from urllib.parse import unquote

from scalekit import PathGlob

MAX_FOLDERS = 32
"""Folders of a path, counted from the root, by which the resources below can be purged."""


def name_tag(name: str) -> bytes:
    """Return the tag of a *name* that an application has chosen."""
    return b"tag:" + name.encode("utf-8", "surrogatepass")


def path_tags(path: str) -> tuple[bytes, ...]:
    """Return the tags of *path*: one for itself, one for its folder, and one for each folder above it."""
    whole = path.encode("utf-8", "surrogateescape").removesuffix(b"/")
    slashes = [index for index, byte in enumerate(whole) if byte == 0x2F][:MAX_FOLDERS]
    above = [b"below:" + whole[:slash] for slash in slashes]
    if len(slashes) < MAX_FOLDERS:
        above.append(b"below:" + whole)
    folder = b"in:" + whole.rpartition(b"/")[0]
    return (b"path:" + whole, folder, *([b"in:" + whole] if path.endswith("/") else ()), *above)


def path_tag(path: str) -> bytes:
    """Return the tag that purges *path*, which may end in ``/*`` or ``/**``; raises ValueError for other patterns."""
    segments = PathGlob(path).segments
    last = segments.pop() if segments and segments[-1] in ("*", "**") else ""
    if any("*" in each for each in segments):
        raise ValueError(
            f'{path!r} cannot be purged: a wildcard must be the last segment, as in "/shop/*" or "/shop/**";'
            " give the responses a common tag, and purge that"
        )
    whole = "".join(f"/{unquote(each, errors='surrogateescape')}" for each in segments)
    kind = {"": b"path:", "*": b"in:", "**": b"below:"}[last]
    return kind + whole.encode("utf-8", "surrogateescape")
