"""Which resource a request is for."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import unquote_to_bytes

from starlette.types import Scope

from scalekit import route_path
from scalekit_cache.http_cache import HttpCache
from scalekit_cache.keys import REWRITING, canonical_query, primary_key
from scalekit_caching.items import Key

Rewriting = tuple[tuple[bytes, bytes], ...]


class Resource:
    """Where a resource is, in raw bytes; its *path* is what policies look at.

    ``policy`` is that of the file, and ``key`` is what its answers are found by.
    """

    __slots__ = ("host", "key", "path", "policy", "raw_path", "rewriting", "scheme")

    def __init__(
        self, cache: HttpCache, scheme: str, host: bytes, raw_path: bytes, query: bytes, path: str, rewriting: Rewriting
    ) -> None:
        self.scheme = scheme
        self.host = host
        self.raw_path = raw_path
        self.path = path
        self.rewriting = rewriting
        self.policy = cache.policies.of(path, raw_path)
        if query:
            query = canonical_query(query, self.policy.query, cache.options.sort_query)
        self.key: Key = primary_key(scheme, host, raw_path, query, rewriting)

    def beside(self, cache: HttpCache, raw_path: bytes, query: bytes) -> Resource:
        """Return another resource of the same host."""
        path = unquote_to_bytes(raw_path).decode("utf-8", "replace")
        return Resource(cache, self.scheme, self.host, raw_path, query, path, self.rewriting)


def resource_of(cache: HttpCache, scope: Scope, fields: Mapping[bytes, bytes]) -> Resource:
    """Return where the resource of *scope* is; of its headers *fields* has at least those that count."""
    rewriting = [(name, fields[name]) for name in sorted(REWRITING & fields.keys())]
    root_path = scope.get("root_path")
    if root_path:  # links in a response begin with it
        rewriting.append((b":root-path", root_path.encode("utf-8", "surrogatepass")))
    raw_path = scope.get("raw_path") or scope["path"].encode("utf-8", "surrogatepass")
    return Resource(
        cache,
        scope["scheme"],
        fields.get(b"host") or _server(scope),
        raw_path,
        scope["query_string"],
        route_path(scope) if root_path else scope["path"],
        tuple(rewriting),
    )


def _server(scope: Scope) -> bytes:
    """Return where the server listens, which a request without ``Host`` is taken to be for."""
    host, port = scope.get("server") or ("", None)
    usual = {"http": 80, "https": 443}.get(scope["scheme"])
    return (host if port is None or port == usual else f"{host}:{port}").encode()
