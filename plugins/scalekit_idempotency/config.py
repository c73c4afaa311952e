"""Configuration table ``[plugins.idempotency]``."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from scalekit import Duration, Method, PathGlob, PositiveDuration, PositiveSize, Size, Table, TextPattern, Url
from scalekit_redis import REDIS_SCHEMES, parse_url

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "CONNECT"})

Isolation = Literal["read_committed", "repeatable_read", "serializable"]
HeaderName = Annotated[str, TextPattern(r"^[A-Za-z0-9-]{1,64}$", 'a header name such as "X-API-Key"')]
Status = Annotated[int, Field(ge=400, le=499)]


def _redis(url: Url) -> Url:
    if url.scheme not in REDIS_SCHEMES:
        raise ValueError(f'unsupported scheme {url.scheme!r}; write "redis://127.0.0.1:6379/0"')
    parse_url(url.reveal())
    return url


def _writing(methods: tuple[Method, ...]) -> tuple[Method, ...]:
    if safe := sorted(SAFE_METHODS.intersection(methods)):
        raise ValueError(f"safe methods need no key: remove {', '.join(safe)}")
    return methods


class IdempotencyConfig(Table):
    """Requests that run once for each Idempotency-Key, and the store of their responses."""

    store: Literal["auto", "database", "redis", "memory"] = "auto"
    """``auto`` is the database of the plugin pool, without it Redis if ``redis_url`` is set, else memory."""
    redis_url: Annotated[Url, AfterValidator(_redis)] | None = None
    """Redis of ``store = "redis"``."""
    methods: Annotated[tuple[Method, ...], Field(min_length=1), AfterValidator(_writing)] = ("POST", "PATCH")
    """Methods of requests whose key is read."""
    paths: tuple[PathGlob, ...] = (PathGlob("/**"),)
    """Paths of requests whose key is read."""
    exclude: tuple[PathGlob, ...] = ()
    """Paths whose responses are never stored, such as those of tokens; their keys are ignored."""
    required_paths: tuple[PathGlob, ...] = ()
    """Those of ``paths`` whose requests with one of ``methods`` get 400 without a key."""
    subject_header: HeaderName | None = None
    """Header that identifies the client of a request without an authenticated user, such as ``X-API-Key``."""
    ttl: PositiveDuration = Duration("1d")
    """How long a response is stored."""
    max_keys: Annotated[int, Field(ge=1)] = 1_000_000
    """Maximum number of stored responses; the oldest are deleted."""
    memory_size: PositiveSize = Size("64MiB")
    """Maximum size of all stored responses in memory, in each process; the oldest are deleted."""
    max_body: PositiveSize = Size("1MiB")
    """Maximum size of the body of a request with a key; a larger one gets 413."""
    max_response: PositiveSize = Size("1MiB")
    """Maximum size of a stored response."""
    unstored_statuses: tuple[Status, ...] = (401, 408, 425, 429)
    """Statuses whose responses are not stored, nor those from 500: the request is rolled back, and may be repeated."""
    wait_timeout: Annotated[Duration, Field(le=60)] = Duration("0s")
    """How long a request waits for the response of the first one with its key, before it gets 409."""
    retry_after: PositiveDuration = Duration("1s")
    """Value of ``Retry-After`` while the first request with a key runs."""
    isolation: Isolation = "read_committed"
    """Isolation level of the transaction on PostgreSQL; transactions of the application cannot have a stronger one."""
    lease_ttl: PositiveDuration = Duration("30s")
    """How long a key stays claimed in Redis after its process died; it is extended while the request runs."""

    @model_validator(mode="after")
    def _check_combination(self) -> Self:
        if self.store == "redis" and self.redis_url is None:
            raise ValueError('store = "redis" needs redis_url = "redis://..."')
        if self.redis_url is not None and self.store in ("database", "memory"):
            raise ValueError(f'redis_url has no effect with store = "{self.store}"; remove one of them')
        if self.max_response > self.memory_size:
            raise ValueError(f"max_response {self.max_response} is more than memory_size {self.memory_size}")
        return self
