"""The table ``[plugins.cache]``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from scalekit import Duration, PathGlob, PositiveDuration, PositiveSize, Size, Table, TextPattern, Url
from scalekit_cache.credentials import CREDENTIAL_HEADERS
from scalekit_cache.decorator import EARLY
from scalekit_cache.policies import DEFAULT_STATUSES, CachePolicy
from scalekit_caching.tags import name_tag
from scalekit_redis.url import SCHEMES, parse

FieldName = Annotated[str, TextPattern(r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$", 'the name of a header, such as "X-User"')]
Share = Annotated[float, Field(ge=0, lt=1)]
CLUSTER = "cluster-cache:"
Status = Annotated[int, Field(ge=200, le=599)]


def _known_store(url: Url) -> Url:
    if url.reveal() in ("memory:", CLUSTER):
        return url
    if url.scheme not in SCHEMES:
        known = ", ".join(("memory:", CLUSTER, *(f"{scheme}://" for scheme in SCHEMES)))
        raise ValueError(f'no store has the address {str(url)!r}; known are {known}; "memory:" needs no server')
    parse(url.reveal())
    return url


class CachePolicyTable(Table):
    """How the answers below a path are kept that do not say it themselves."""

    path: PathGlob
    """Paths that it is for, such as ``/static/**``."""
    ttl: PositiveDuration | None = None
    """How long an answer is fresh that does not say it; without it only those are kept that do."""
    vary: tuple[FieldName, ...] = ()
    """Request headers that answers differ by, beside those that they name in ``Vary``."""
    query_params: tuple[str, ...] | None = None
    """Parameters of the query that answers differ by; without it all of them."""
    vary_by: Literal["identity"] | None = None
    """``identity`` keeps answers for each user apart, in place of keeping none of them."""
    cookies: Literal["private", "ignore"] = "private"
    """``ignore`` says that answers do not depend on cookies."""
    stale_while_revalidate: Duration = Duration("0s")
    """How long a stale answer is given at once while a new one is made."""
    stale_if_error: Duration = Duration("0s")
    """How long a stale answer stands in where a new one cannot be made."""
    early_refresh: Share = EARLY
    """The last share of ttl in which an answer is made anew ahead of time, at a random moment."""
    tags: tuple[str, ...] = ()
    """Names under which all these answers can be purged."""
    statuses: tuple[Status, ...] = tuple(sorted(DEFAULT_STATUSES))
    """Statuses of answers that ttl is for."""

    def policy(self) -> CachePolicy:
        """Return what the core knows of it."""
        return CachePolicy(
            self.ttl,
            tuple(sorted(name.lower().encode() for name in self.vary)),
            None if self.query_params is None else frozenset(name.encode() for name in self.query_params),
            self.vary_by == "identity",
            self.cookies == "ignore",
            self.stale_while_revalidate,
            self.stale_if_error,
            self.early_refresh,
            tuple(map(name_tag, self.tags)),
            frozenset(self.statuses),
        )


class CacheConfig(Table):
    """What is kept, where, and for how long."""

    url: Annotated[Url, AfterValidator(_known_store)] = Url("memory:")
    """The store: ``memory:`` of each process, an address of Redis, or ``cluster-cache:`` of that plugin."""
    per_worker: bool = False
    """Whether each worker may have a ``memory:`` of its own, which a purge in another does not reach."""
    store_timeout: PositiveDuration = Duration("50ms")
    """How long the shared store may take; what takes longer is missing."""
    disconnected_ttl: Duration = Duration("800ms")
    """How long what the process has is given while the shared store cannot be asked; purges elsewhere are not seen."""
    prefix: Annotated[
        str, TextPattern(r"^[A-Za-z0-9:._-]{1,64}$", '1 to 64 letters, digits and ": . _ -", such as "shop"')
    ] = "scalekit:cache"
    """What keys in the shared store begin with; services that share it need one each."""
    memory_size: PositiveSize = Size("64MiB")
    """Bytes of memory for what is kept in each process."""
    max_body: PositiveSize = Size("1MiB")
    """Largest body that is kept; what is larger is passed on as it comes."""
    cache_status_name: Annotated[
        str,
        TextPattern(
            r"^[A-Za-z*][A-Za-z0-9!#$%&'*+.^_`|~:/-]*$", 'a token that begins with a letter, such as "scalekit"'
        ),
    ] = "scalekit"
    """What this cache is called in ``Cache-Status``."""
    coalesce_timeout: PositiveDuration = Duration("10s")
    """How long a request waits for another that has the same answer made, before it goes on alone."""
    refresh_timeout: PositiveDuration = Duration("30s")
    """How long making an answer anew in the background may take."""
    cookies: Literal["private", "ignore"] = "private"
    """Whether a request with cookies is taken to be from somebody; ``ignore`` says that no answer depends on them."""
    credential_headers: tuple[FieldName, ...] = CREDENTIAL_HEADERS
    """Request headers that identify the user, beside ``Authorization`` and ``Cookie``; naming some replaces these."""
    sort_query: bool = True
    """Whether the order of a query's parameters does not matter."""
    targeted_headers: tuple[FieldName, ...] = ("ScaleKit-Cache-Control", "CDN-Cache-Control")
    """Fields that go before ``Cache-Control`` and ``Expires``; no other cache listens to the first."""
    heuristic_fraction: Share = 0.0
    """The share of its age since ``Last-Modified`` for which an answer is fresh that says nothing; 0 keeps none."""
    tags_from_sql: bool = False
    """Whether the tables that a handler read become tags, and what changes a table through DATABASE purges them."""
    policies: tuple[CachePolicyTable, ...] = ()
    """StorageRules for paths; the first that matches counts."""

    @property
    def shared(self) -> bool:
        """Whether processes share the store."""
        return self.url.scheme != "memory"

    @property
    def on_cluster_cache(self) -> bool:
        """Whether the store is that of the cluster cache."""
        return self.url.reveal() == CLUSTER
