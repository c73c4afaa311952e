"""Scripts that run in the server."""

from __future__ import annotations

from hashlib import sha1


class Script:
    """A Lua script, known to the server by its digest. A value: a module may hold it."""

    __slots__ = ("digest", "source")

    def __init__(self, source: str) -> None:
        self.source = source
        self.digest = sha1(source.encode(), usedforsecurity=False).hexdigest()
