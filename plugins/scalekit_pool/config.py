"""The table ``[plugins.pool]``."""

from __future__ import annotations

from os.path import isfile
from typing import Annotated, Literal

from pydantic import Field, model_validator

from scalekit import Duration, PositiveDuration, Secret, Table, Url
from scalekit_pool.pool_limits import Limits


class DatabaseUrl(Url):
    """The address of a database."""

    SCHEMES = ("postgresql", "postgres", "sqlite")
    EXAMPLE = "postgresql://user@host:5432/name or sqlite:///file.db"
    __slots__ = ()


class PoolConfig(Table):
    """Which database, and how many connections to it."""

    url: DatabaseUrl = DatabaseUrl("sqlite:///data.db")
    """The database: ``sqlite:///file.db``, ``sqlite:///:memory:`` or ``postgresql://user:password@host:5432/name``."""
    urls: tuple[DatabaseUrl, ...] = ()
    """Several servers of one replicated PostgreSQL, instead of url; the one that takes writes is found among them."""
    password: Secret | None = None
    """The password, where it is not in the address."""
    password_file: str | None = None
    """A file that holds the password alone; it is read at each connect, so it may change."""
    min_size: Annotated[int, Field(ge=0, le=1000)] = 1
    """Connections that are kept open."""
    max_size: Annotated[int, Field(ge=1, le=1000)] = 20
    """Connections at most; SQLite has one that writes and up to 4 that read."""
    max_waiting: Annotated[int, Field(ge=0, le=100_000)] = 100
    """Requests that may wait for a connection; one more gets 503 at once."""
    acquire_timeout: PositiveDuration = Duration("5s")
    """How long a request waits for a connection before it gets 503."""
    connect_timeout: PositiveDuration = Duration("2s")
    """Time to open a connection."""
    idle_timeout: PositiveDuration = Duration("30s")
    """How long a connection above min_size may be idle before it is closed."""
    max_lifetime: PositiveDuration = Duration("30m")
    """How long a connection lives, up to a tenth less, so that not all end together."""
    statement_timeout: PositiveDuration = Duration("30s")
    """How long a statement may take before it is cancelled."""
    statement_cache: Annotated[int, Field(ge=0, le=100_000)] = 1000
    """Statements that each connection to PostgreSQL keeps prepared; 0 behind pgbouncer in transaction mode."""
    reset: Literal["when-needed", "always"] = "when-needed"
    """When a session is reset before its next use: after statements that may have changed it, or always."""
    slow: PositiveDuration = Duration("500ms")
    """Statements that take longer are logged, without their values."""
    leak_warn: PositiveDuration = Duration("30s")
    """A connection that is held longer is logged, with the place that took it."""
    tls: Literal["disable", "prefer", "require", "verify-ca", "verify-full"] = "prefer"
    """How connections to PostgreSQL are encrypted, in libpq's words."""
    tls_ca: str | None = None
    """A file of certificates that the server's must be signed by; without it the system's are believed."""
    migrations: str = "migrations"
    """The folder of numbered SQL files that `scalekit pool migrate` applies."""
    migrate_on_start: bool = False
    """Whether they are applied at each start, before anything is served."""

    @model_validator(mode="after")
    def _fits_together(self) -> PoolConfig:
        if self.min_size > self.max_size:
            raise ValueError(f"min_size {self.min_size} is more than max_size {self.max_size}; raise one or lower one")
        if self.urls and "url" in self.model_fields_set:
            raise ValueError("url and urls name the database twice; leave one out")
        if self.urls and any(url.scheme == "sqlite" for url in self.urls):
            raise ValueError("urls are servers of one PostgreSQL; a SQLite file goes into url")
        if self.password is not None and self.password_file is not None:
            raise ValueError("password and password_file give the password twice; leave one out")
        if self.password_file is not None and not isfile(self.password_file):
            raise ValueError(f"password_file: there is no file {self.password_file!r}")
        if self.tls_ca is not None and not isfile(self.tls_ca):
            raise ValueError(f"tls_ca: there is no file {self.tls_ca!r}")
        return self

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses of the servers, passwords included."""
        return tuple(url.reveal() for url in self.urls or (self.url,))

    @property
    def limits(self) -> Limits:
        """The bounds of the pool."""
        return Limits(
            self.min_size,
            self.max_size,
            self.max_waiting,
            self.acquire_timeout,
            self.connect_timeout,
            self.idle_timeout,
            self.max_lifetime,
        )
