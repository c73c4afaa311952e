"""By what things are purged: names that applications give, and paths."""

from __future__ import annotations


def name_tag(name: str) -> bytes:
    """Return the tag of a *name* that an application gives."""
    return b"tag:" + name.encode("utf-8", "surrogatepass")


def path_tags(path: str) -> tuple[bytes, ...]:
    """Return the tags of *path*: of itself, and of each folder above it as ``/a/*``."""
    whole = b"path:" + path.encode("utf-8", "surrogateescape")
    places = [place for place, byte in enumerate(whole) if byte == 0x2F][:32]
    return (whole, *(whole[: place + 1] + b"*" for place in places))


def path_tag(path: str) -> bytes:
    """Return the tag that purges *path*; raises ValueError when it is none."""
    if not path.startswith("/"):
        raise ValueError(f'a path begins with a slash, such as "/shop" or "/shop/*", got {path!r}')
    return path_tags(path)[0]
