"""Which resource a request is for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import unquote_to_bytes

from starlette.types import Scope

from scalekit.routes import route_path
from scalekit_cache.core import HttpCache
from scalekit_cache.keys import REWRITING, Key, canonical_query, primary_key
from scalekit_cache.policies import Policy


@dataclass(frozen=True)
class Location:
    """Where a resource is, in raw bytes; *path* is what policies look at."""

    scheme: str
    host: bytes
    raw_path: bytes
    query: bytes
    path: str
    rewriting: tuple[tuple[bytes, bytes], ...]

    def policy(self, cache: HttpCache) -> Policy:
        """Return the policy of the file for it."""
        return cache.policies.of(self.path, self.raw_path)

    def key(self, cache: HttpCache) -> Key:
        """Return what its answers are found by."""
        query = canonical_query(self.query, self.policy(cache).query, cache.options.sort_query)
        return primary_key(self.scheme, self.host, self.raw_path, query, self.rewriting)

    def beside(self, raw_path: bytes, query: bytes) -> Location:
        """Return another resource of the same host."""
        path = unquote_to_bytes(raw_path).decode("utf-8", "replace")
        return replace(self, raw_path=raw_path, query=query, path=path)


def locate(scope: Scope, fields: Mapping[bytes, bytes]) -> Location:
    """Return where the resource of *scope* is; *fields* are its headers by name."""
    rewriting = tuple([(name, fields[name]) for name in sorted(REWRITING & fields.keys())])
    raw_path = scope.get("raw_path") or scope["path"].encode("utf-8", "surrogateescape")
    return Location(
        scope["scheme"],
        fields.get(b"host", b""),
        raw_path,
        scope.get("query_string", b""),
        route_path(scope),
        rewriting,
    )
