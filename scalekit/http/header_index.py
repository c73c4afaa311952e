"""Index the request headers once for all filters of a chain."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence

Headers = Sequence[tuple[bytes, bytes]]

MAX_NAMES = 4096
"""Maximum number of header names whose lookup is cached."""
NOT_REPEATED: Mapping[bytes, list[bytes]] = {}


class IndexedNames(dict[bytes, bool]):
    """Whether a header name, in lower case, is in one of *containers*; memoized."""

    def __init__(self, containers: Iterable[Container[bytes]]) -> None:
        super().__init__()
        self._containers = tuple(containers)

    def __missing__(self, name: bytes) -> bool:
        if len(self) >= MAX_NAMES:
            self.clear()
        found = self[name] = any(name in each for each in self._containers)
        return found


def index_headers(headers: Headers, names: IndexedNames) -> tuple[dict[bytes, bytes], Mapping[bytes, list[bytes]]]:
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
