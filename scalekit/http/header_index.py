"""Index the request headers once for all filters of a chain."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

Headers = Sequence[tuple[bytes, bytes]]

MAX_NAMES = 4096
"""Maximum number of header names whose lookup is cached."""
NOT_REPEATED: Mapping[bytes, list[bytes]] = {}


class HeaderNames(dict[bytes, bytes | None]):
    """By header name as it is sent: the name in lower case where *contains* is true of it, else None; memoized."""

    def __init__(self, contains: Callable[[bytes], bool]) -> None:
        super().__init__()
        self._contains = contains

    def __missing__(self, name: bytes) -> bytes | None:
        if len(self) >= MAX_NAMES:
            self.clear()
        lower = name.lower()
        found = self[name] = lower if self._contains(lower) else None
        return found


def index_headers(headers: Headers, names: HeaderNames) -> tuple[dict[bytes, bytes], Mapping[bytes, list[bytes]]]:
    """Return the first value of each header of *names*, and all values of repeated headers."""
    found: dict[bytes, bytes] = {}
    repeated = NOT_REPEATED
    for name, value in headers:
        if names[name]:
            if name in found:
                repeated = _add(repeated, name, found[name], value)
            else:
                found[name] = value
    return found, repeated


def _add(repeated: Mapping[bytes, list[bytes]], name: bytes, first: bytes, value: bytes) -> Mapping[bytes, list[bytes]]:
    return {**repeated, name: [*repeated.get(name, [first]), value]}
