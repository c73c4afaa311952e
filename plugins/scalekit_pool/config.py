"""The table ``[plugins.pool]``."""

from __future__ import annotations

from os.path import isfile
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from scalekit import DeployMark, Duration, PositiveDuration, Secret, Table, TextPattern, Url
from scalekit_pool.connections.driver import DriverOptions
from scalekit_pool.connections.lifecycle import PoolLimits

SCHEMES = ("postgresql", "postgres", "sqlite", "mysql", "mariadb")
DIALECTS = {"postgres": "postgresql", "mariadb": "mysql"}
"""The dialects of schemes that are not their names."""


class DatabaseUrl(Url):
    """The URL of a database."""

    SCHEMES = SCHEMES
    EXAMPLE = "postgresql://user@host:5432/name, mysql://user@host:3306/name or sqlite:///file.db"
    __slots__ = ()

    def _check(self) -> None:
        super()._check()
        if self.scheme in ("mysql", "mariadb") and not self.parts.path.strip("/"):
            raise ValueError("the URL names no database; write mysql://user@host:3306/name")


class QueryBudgetConfig(Table):
    """How many statements a request may run; more are reported once per route, with the line of code."""

    repeat: Annotated[int, Field(ge=0)] = 10
    """How often a request may run one statement with different values (N+1 queries); 0 is unlimited."""
    statements: Annotated[int, Field(ge=0)] = 0
    """How many statements a request may run in all; 0 is unlimited."""
    strict: bool = False
    """Raise QueryBudgetExceeded instead of running one more, for tests."""


def _of_statements(value: object) -> object:
    return value if isinstance(value, dict | QueryBudgetConfig) else {"statements": value}


QueryBudgetField = Annotated[
    QueryBudgetConfig, BeforeValidator(_of_statements, json_schema_input_type=QueryBudgetConfig | int)
]
"""A table, or the number of statements that a request may run in all."""


class PoolConfig(Table):
    """The database and the limits of its connection pool."""

    url: DatabaseUrl = DatabaseUrl("sqlite:///data.db")
    """The database: ``sqlite:///file.db``, ``sqlite:///:memory:``, ``postgresql://user:password@host:5432/name``, or
    ``mysql://user:password@host:3306/name``, or ``mariadb://`` for MariaDB."""
    urls: tuple[DatabaseUrl, ...] = ()
    """Several servers of one PostgreSQL cluster, instead of url; the pool finds the primary among them."""
    password: Secret | None = None
    """The password, if the URL has none."""
    password_file: str | None = None
    """A file with only the password; read at each connect, so it may change."""
    min_size: Annotated[int, Field(ge=0, le=1000)] = 1
    """Minimum number of open connections."""
    max_size: Annotated[int, Field(ge=1, le=1000)] = 20
    """Maximum number of connections; SQLite uses one writer and up to 4 readers."""
    max_waiting: Annotated[int, Field(ge=0, le=100_000)] = 100
    """Maximum number of requests that wait for a connection; further requests get 503 at once."""
    acquire_timeout: PositiveDuration = Duration("5s")
    """How long a request waits for a connection before it gets 503; on SQLite also for a lock."""
    connect_timeout: PositiveDuration = Duration("2s")
    """How long opening a connection may take."""
    idle_timeout: PositiveDuration = Duration("30s")
    """How long a connection above min_size may be idle before it is closed."""
    max_lifetime: PositiveDuration = Duration("30m")
    """Maximum lifetime of a connection, reduced by up to 10 % at random so that not all expire together."""
    statement_timeout: PositiveDuration = Duration("30s")
    """How long a statement may run before it is cancelled."""
    statement_cache_size: Annotated[int, Field(ge=0, le=100_000)] = 1000
    """Prepared statements that each connection caches, on MySQL 100 at most; 0 behind pgbouncer in transaction mode."""
    reset_session: Literal["when-needed", "always"] = "when-needed"
    """When to reset a session before its next use: after statements that may have changed it, or always."""
    slow_query_threshold: PositiveDuration = Duration("500ms")
    """Statements that take longer are logged, without their values."""
    leak_detection_threshold: PositiveDuration = Duration("30s")
    """Connections that are held longer are logged, with the code that acquired them."""
    query_budget: QueryBudgetField = QueryBudgetConfig()
    """How many statements a request may run; more are reported once per route, with the line of code. A number is the
    limit of all statements."""
    session_class: Annotated[str, TextPattern(r"^[\w.]+:\w+$", "module:Class")] = "sqlalchemy.ext.asyncio:AsyncSession"
    """The class of ORM sessions: SQLAlchemy's AsyncSession, or a subclass such as SQLModel's."""
    sslmode: Literal["disable", "prefer", "require", "verify-ca", "verify-full"] = "prefer"
    """TLS of connections to PostgreSQL and MySQL, as libpq's sslmode."""
    sslrootcert: str | None = None
    """A PEM file of trusted CA certificates, as libpq's sslrootcert; without it the system's are trusted."""
    migrations: Annotated[str, DeployMark("migrations", unless="migrate_on_start")] = "migrations"
    """The folder of numbered SQL files that `scalekit pool migrate` applies, or Alembic's alembic.ini or
    pyproject.toml."""
    migrate_on_start: bool = False
    """Whether to apply pending migrations at each start, before requests are accepted."""

    @model_validator(mode="after")
    def _fits_together(self) -> PoolConfig:
        if self.min_size > self.max_size:
            raise ValueError(
                f"min_size {self.min_size} is more than max_size {self.max_size}; lower min_size or raise max_size"
            )
        if self.urls and "url" in self.model_fields_set:
            raise ValueError("url and urls are both set; remove one")
        if self.urls and any(url.scheme not in ("postgresql", "postgres") for url in self.urls):
            raise ValueError("urls are servers of one PostgreSQL cluster; name a SQLite file, or a MySQL, in url")
        if self.password is not None and self.password_file is not None:
            raise ValueError("password and password_file are both set; remove one")
        if self.password_file is not None and not isfile(self.password_file):
            raise ValueError(f"password_file: file {self.password_file!r} not found")
        if self.sslrootcert is not None and not isfile(self.sslrootcert):
            raise ValueError(f"sslrootcert: file {self.sslrootcert!r} not found")
        return self

    @property
    def addresses(self) -> tuple[str, ...]:
        """The URLs of the servers, including passwords."""
        return tuple(url.reveal() for url in self.urls or (self.url,))

    @property
    def dialect(self) -> str:
        """``postgresql``, ``sqlite`` or ``mysql``, which MariaDB is too."""
        scheme = (self.urls or (self.url,))[0].scheme
        return DIALECTS.get(scheme, scheme)

    @property
    def limits(self) -> PoolLimits:
        """The limits of the pool."""
        return PoolLimits(
            min_size=self.min_size,
            max_size=self.max_size,
            max_waiting=self.max_waiting,
            acquire_timeout=self.acquire_timeout,
            connect_timeout=self.connect_timeout,
            idle_timeout=self.idle_timeout,
            max_lifetime=self.max_lifetime,
        )

    @property
    def driver_options(self) -> DriverOptions:
        """The options of the driver."""
        return DriverOptions(
            limits=self.limits,
            statement_timeout=self.statement_timeout,
            statement_cache_size=self.statement_cache_size,
            password=self.password,
            password_file=self.password_file,
            sslmode=self.sslmode,
            sslrootcert=self.sslrootcert,
        )
