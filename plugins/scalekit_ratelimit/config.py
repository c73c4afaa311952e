"""Configuration table ``[plugins.ratelimit]``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, model_validator

from scalekit import Duration, Method, PathGlob, PositiveDuration, Rate, Table, TextPattern, Url
from scalekit_ratelimit.keys import APPLICATION, IPV6_PREFIX, Exemption, normalize_key_name, parse_exemption
from scalekit_ratelimit.limits import Algorithm, Limit, make_limit
from scalekit_redis import REDIS_SCHEMES, parse_url, similar_scheme

Priority = Literal["low", "normal", "high"]

POOL_DATABASE = "database:"
"""The URL of the pool's database."""
_NAME = r"^[A-Za-z0-9_.-]{1,64}$"


def _as_tuple(value: object) -> tuple[object, ...]:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _supported_store(url: Url) -> Url:
    if url.reveal() in ("memory:", POOL_DATABASE):
        return url
    if url.scheme == "database":
        raise ValueError(f"the pool's database has no address here; write {POOL_DATABASE!r}")
    if url.scheme not in REDIS_SCHEMES:
        similar = similar_scheme(url.scheme)
        remedy = f"{similar}://" if similar else '"memory:", "database:" or "redis://127.0.0.1:6379/0"'
        raise ValueError(f"unsupported store {str(url)!r}; write {remedy}")
    parse_url(url.reveal())
    return url


LimitRates = Annotated[tuple[Rate, ...], BeforeValidator(_as_tuple, json_schema_input_type=str | tuple[str, ...])]
KeyNames = Annotated[
    tuple[Annotated[str, AfterValidator(normalize_key_name)], ...],
    BeforeValidator(_as_tuple, json_schema_input_type=str | tuple[str, ...]),
    Field(min_length=1),
]
ExemptEntry = Annotated[Exemption, PlainValidator(parse_exemption, json_schema_input_type=str | dict[str, str])]
Positive = Annotated[int, Field(ge=1)]


class RateLimitPolicyConfig(Table):
    """A limit for requests by path, method and key."""

    name: Annotated[str, TextPattern(_NAME, 'at most 64 letters, digits and "_ . -", such as "login"')]
    """Name of the policy in responses, metrics and logs."""
    path: PathGlob = PathGlob("/**")
    """Paths that the policy applies to, such as ``/search/**``."""
    methods: tuple[Method, ...] = ()
    """Methods that the policy applies to, all when empty; ``GET`` includes ``HEAD`` and websocket handshakes."""
    limit: Annotated[LimitRates, Field(min_length=1)]
    """Rate such as ``"5/15m"``, or several that all apply."""
    burst: Positive | None = None
    """How many requests may arrive at once; by default as many as ``limit`` allows."""
    key: KeyNames = ("ip",)
    """By what requests are counted: ``ip``, ``subject``, ``header:NAME``, a function, several, or ``application``."""
    cost: Positive = 1
    """Number of requests that one request counts as."""
    exempt: tuple[ExemptEntry, ...] = ()
    """Networks, and users as ``{ issuer = "...", subject = "..." }``, that are not limited."""
    dry_run: bool = False
    """Only count and log the requests that would be refused."""
    algorithm: Algorithm = "gcra"
    """``gcra`` replenishes one request at a time; ``sliding-window`` counts exactly the requests of the last period."""
    priority: Priority = "normal"
    """Priority when load is shed, if ``concurrency`` is enabled."""

    @model_validator(mode="after")
    def _cost_fits_burst(self) -> RateLimitPolicyConfig:
        burst = min(limit.burst for limit in self.limits())
        if self.cost > burst:
            raise ValueError(f"cost {self.cost} is greater than burst {burst}: every request would be refused")
        return self

    @model_validator(mode="after")
    def _application_key_is_alone(self) -> RateLimitPolicyConfig:
        if APPLICATION not in self.key:
            return self
        if len(self.key) > 1:
            raise ValueError('key = "application" cannot be combined; put the other parts into the key that is passed')
        ignored = [name for name in ("path", "methods", "exempt", "priority") if name in self.model_fields_set]
        if ignored:
            raise ValueError(
                f'{" and ".join(ignored)} cannot be combined with key = "application", which is counted where'
                " LIMITS(request).hit(...) is called; remove it"
            )
        return self

    @property
    def by_application(self) -> bool:
        """Whether the application counts the hits."""
        return APPLICATION in self.key

    def limits(self) -> tuple[Limit, ...]:
        """Return the limits of the policy; raises ValueError for one that cannot be enforced."""
        return make_limits(self.name, self.limit, self.burst, self.algorithm)


class ConcurrencyConfig(Table):
    """Adaptive limit of requests in flight, computed from their latency."""

    enabled: bool = True
    """Whether the limit is enforced; an empty table enables it."""
    algorithm: Literal["gradient", "aimd"] = "gradient"
    """``gradient`` compares latency with latency without load, ``aimd`` with ``target_latency``."""
    initial_limit: Positive = 20
    """Limit at start."""
    min_limit: Positive = 4
    """Lower bound of the limit."""
    max_limit: Positive = 1000
    """Upper bound of the limit."""
    target_latency: PositiveDuration = Duration("100ms")
    """Latency above which ``aimd`` lowers the limit."""
    tolerance: Annotated[float, Field(ge=1)] = 1.5
    """Factor by which latency without load may grow before ``gradient`` lowers the limit."""
    retry_after: PositiveDuration = Duration("1s")
    """Value of ``Retry-After`` in the 503 response."""

    @model_validator(mode="after")
    def _limits_are_ordered(self) -> ConcurrencyConfig:
        if not self.min_limit <= self.initial_limit <= self.max_limit:
            raise ValueError(
                f"initial_limit {self.initial_limit} is not between min_limit {self.min_limit}"
                f" and max_limit {self.max_limit}"
            )
        return self


class RateLimitConfig(Table):
    """Rate limits, and the store in which they are counted."""

    url: Annotated[Url, AfterValidator(_supported_store)] = Url("memory:")
    """Store: ``memory:`` of each process, or for all ``redis://``, ``redis-sentinel://``, ``redis-cluster://``, or
    ``database:``, the pool's PostgreSQL."""
    default: LimitRates = ()
    """Limit per client address for requests that match no policy, or only policies with ``dry_run``."""
    policies: tuple[RateLimitPolicyConfig, ...] = ()
    """Limits by path; all that match apply, and the strictest decides."""
    per_worker: bool = False
    """Allow ``memory:`` with several workers, each of which then allows the whole limit."""
    ipv6_prefix: Annotated[int, Field(ge=1, le=128)] = IPV6_PREFIX
    """Number of address bits that identify an IPv6 client."""
    max_keys: Annotated[int, Field(ge=2)] = 100_000
    """Maximum number of keys in memory; the least recently used ones are evicted."""
    on_error: Literal["local", "allow", "refuse"] = "local"
    """While the store is unavailable: count in each process, allow all requests, or refuse all with 503."""
    store_timeout: PositiveDuration = Duration("2s")
    """How long to wait for a reply of the store; then ``on_error`` applies to the request, and limits are not exact."""
    retry_interval: PositiveDuration = Duration("500ms")
    """Time between two probes of the store while the circuit breaker is open; no request waits for them."""
    legacy_headers: bool = False
    """Add ``X-RateLimit-Limit``, ``-Remaining`` and ``-Reset`` to responses."""
    concurrency: ConcurrencyConfig | None = None
    """Load shedding: an adaptive limit of requests in flight; an empty table enables it."""

    @property
    def store(self) -> Literal["memory", "database", "redis"]:
        """Return the kind of store."""
        if self.url.scheme == "memory":
            return "memory"
        return "database" if self.url.scheme == "database" else "redis"

    @model_validator(mode="after")
    def _names_are_unique(self) -> RateLimitConfig:
        names = [policy.name for policy in self.policies] + (["default"] if self.default else [])
        if duplicates := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"duplicate policy name {', '.join(sorted(duplicates))}; rename one of the policies")
        make_limits("default", self.default)
        return self


def make_limits(
    name: str, rates: Iterable[Rate], burst: int | None = None, algorithm: Algorithm = "gcra"
) -> tuple[Limit, ...]:
    """Return the limits of the policy *name*; of several, each is named by its rate too."""
    rates = tuple(rates)
    if len(set(rates)) < len(rates):
        raise ValueError(f"limit of policy {name!r} contains a duplicate rate; remove it")
    return tuple(make_limit(name if len(rates) == 1 else f"{name} {rate}", rate, burst, algorithm) for rate in rates)
