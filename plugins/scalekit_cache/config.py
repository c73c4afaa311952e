"""The table ``[plugins.cache]``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from scalekit import Duration, PathGlob, PositiveDuration, PositiveSize, Size, Table, TextPattern, Url
from scalekit_cache.credentials import CREDENTIAL_HEADERS
from scalekit_cache.decorator import DEFAULT_EARLY_REFRESH
from scalekit_cache.policies import DEFAULT_STATUSES, CachePolicy
from scalekit_caching import name_tag
from scalekit_redis import REDIS_SCHEMES, parse_url, similar_scheme

FieldName = Annotated[str, TextPattern(r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$", 'the name of a header, such as "X-User"')]
Fraction = Annotated[float, Field(ge=0, lt=1)]
CLUSTER = "cluster-cache:"
Status = Annotated[int, Field(ge=200, le=599)]


def _known_store(url: Url) -> Url:
    if url.reveal() in ("memory:", CLUSTER):
        return url
    if url.scheme not in REDIS_SCHEMES:
        if similar := similar_scheme(url.scheme):
            raise ValueError(f"unknown store {str(url)!r}; write {similar}://")
        known = ", ".join(("memory:", CLUSTER, *(f"{scheme}://" for scheme in REDIS_SCHEMES)))
        raise ValueError(f'unknown store {str(url)!r}; use one of {known}; "memory:" needs no server')
    parse_url(url.reveal())
    return url


class CachePolicyTable(Table):
    """A cache policy: how responses of a path are stored that do not specify it themselves."""

    path: PathGlob
    """Paths of the policy, such as ``/static/**``."""
    ttl: PositiveDuration | None = None
    """TTL of responses without a freshness lifetime; without it these are not stored."""
    vary: tuple[FieldName, ...] = ()
    """Request headers in the cache key, beside those in the ``Vary`` of the response."""
    query_params: tuple[str, ...] | None = None
    """Query parameters in the cache key; all by default."""
    vary_by: Literal["identity"] | None = None
    """``identity`` adds the user to the cache key; without it responses to users are not stored."""
    cookies: Literal["private", "ignore"] = "private"
    """``ignore`` declares that responses do not depend on cookies."""
    stale_while_revalidate: Duration = Duration("0s")
    """How long a stale response is sent while it is refreshed in the background."""
    stale_if_error: Duration = Duration("0s")
    """How long a stale response is sent when the application fails."""
    early_refresh: Fraction = DEFAULT_EARLY_REFRESH
    """Last fraction of the TTL in which a response is refreshed early, at a random moment."""
    tags: tuple[str, ...] = ()
    """Tags of all responses of the policy, for purging."""
    statuses: tuple[Status, ...] = tuple(sorted(DEFAULT_STATUSES))
    """Status codes to which ttl applies."""

    def policy(self) -> CachePolicy:
        """Return the policy for the cache."""
        return CachePolicy(
            ttl=self.ttl,
            vary=tuple(sorted(name.lower().encode() for name in self.vary)),
            query=None if self.query_params is None else frozenset(name.encode() for name in self.query_params),
            by_identity=self.vary_by == "identity",
            ignores_cookies=self.cookies == "ignore",
            stale_while_revalidate=self.stale_while_revalidate,
            stale_if_error=self.stale_if_error,
            early_refresh=self.early_refresh,
            tags=tuple(map(name_tag, self.tags)),
            statuses=frozenset(self.statuses),
        )


class CacheConfig(Table):
    """Configuration of the cache."""

    url: Annotated[Url, AfterValidator(_known_store)] = Url("memory:")
    """The store: ``memory:`` in each process, a Redis URL, or ``cluster-cache:`` for the store of that plugin."""
    per_worker: bool = False
    """Allow a separate ``memory:`` store in each worker, which a purge in another worker does not reach."""
    store_timeout: PositiveDuration = Duration("50ms")
    """Timeout of a call of the shared store; a call that times out is a miss."""
    disconnected_ttl: Duration = Duration("800ms")
    """How long entries in process memory are used while the shared store is unavailable, without purges elsewhere."""
    prefix: Annotated[
        str, TextPattern(r"^[A-Za-z0-9:._-]{1,64}$", '1 to 64 letters, digits and ": . _ -", such as "shop"')
    ] = "scalekit:cache"
    """Prefix of keys in the shared store; services that share it need different ones."""
    memory_size: PositiveSize = Size("64MiB")
    """Memory for entries in each process."""
    max_body: PositiveSize = Size("1MiB")
    """Largest body that is stored; larger responses are streamed, not stored."""
    cache_status_name: Annotated[
        str,
        TextPattern(
            r"^[A-Za-z*][A-Za-z0-9!#$%&'*+.^_`|~:/-]*$", 'a token that begins with a letter, such as "scalekit"'
        ),
    ] = "scalekit"
    """Name of this cache in ``Cache-Status``."""
    coalesce_timeout: PositiveDuration = Duration("10s")
    """How long a request waits for a concurrent one of the same key before it calls the application itself."""
    refresh_timeout: PositiveDuration = Duration("30s")
    """Timeout of a refresh in the background."""
    cookies: Literal["private", "ignore"] = "private"
    """``private`` makes cookies a credential; ``ignore`` declares that no response depends on them."""
    credential_headers: tuple[FieldName, ...] = CREDENTIAL_HEADERS
    """Request headers that identify the user, beside ``Authorization`` and ``Cookie``; a list replaces the default."""
    sort_query: bool = True
    """Ignore the order of query parameters in the cache key."""
    targeted_headers: tuple[FieldName, ...] = ("ScaleKit-Cache-Control", "CDN-Cache-Control")
    """Response headers with precedence over ``Cache-Control``; other caches ignore the first."""
    heuristic_fraction: Fraction = 0.0
    """Freshness lifetime of responses without one, as a fraction of the time since ``Last-Modified``; 0 disables it."""
    tags_from_sql: bool = False
    """Tag responses with the tables that their handler read, and purge them when a statement changes one of these."""
    policies: tuple[CachePolicyTable, ...] = ()
    """Policies for paths; the first that matches applies."""

    @property
    def shared(self) -> bool:
        """Whether processes share the store."""
        return self.url.scheme != "memory"

    @property
    def on_cluster_cache(self) -> bool:
        """Whether the store is the one of the cluster cache."""
        return self.url.reveal() == CLUSTER
