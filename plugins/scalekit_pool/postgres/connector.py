"""PostgreSQL through asyncpg: opening and mending its connections."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import asyncpg

from scalekit import split_url
from scalekit_pool.config import PoolConfig
from scalekit_pool.driver import quoted
from scalekit_pool.postgres.primary_search import PrimarySearch
from scalekit_pool.postgres.timelines import StalePrimary, Timelines, history_of

Connection = Any  # asyncpg has no types

# What asyncpg's own reset leaves: another role, temporary tables, the last values of sequences.
_RESET_THE_REST = "SET SESSION AUTHORIZATION DEFAULT; DISCARD TEMP; DISCARD SEQUENCES"
_PREPARED = "SELECT name FROM pg_prepared_statements WHERE from_sql"


class PostgresRow(asyncpg.Record):  # type: ignore[misc]
    """A row as asyncpg makes it, with its columns as attributes too."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    @property
    def _mapping(self) -> Mapping[str, Any]:
        return dict(self)


class PostgresConnection(asyncpg.Connection):  # type: ignore[misc]
    """A connection that notes whether values are decoded in another way, which no reset undoes."""

    is_as_new = True
    timeline = 0

    async def set_type_codec(self, *args: Any, **options: Any) -> None:
        """Let values of a type be decoded otherwise."""
        self.is_as_new = False
        await super().set_type_codec(*args, **options)

    async def set_builtin_type_codec(self, *args: Any, **options: Any) -> None:
        """Let values of a type be decoded as those of another."""
        self.is_as_new = False
        await super().set_builtin_type_codec(*args, **options)


@dataclass(frozen=True, slots=True)
class Place:
    """Where one server is, and who asks; the password is looked up at each connect."""

    host: str
    port: int
    user: str | None
    database: str
    password: str | None

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def describe_error(address: str) -> Place:
    """Return the place that *address* names."""
    parts = split_url(address)
    database = unquote(parts.path.lstrip("/")) or "postgres"
    return Place(parts.host, parts.port or 5432, parts.user, database, parts.password or None)


class WrongRole(ConnectionError):
    """The server is a standby where a primary is needed, or the other way round."""


class PostgresConnector:
    """Opens connections to the first of *places* that has the role that is needed."""

    def __init__(
        self, places: Sequence[Place], config: PoolConfig, standby: bool, count_stale: Callable[[], None]
    ) -> None:
        self.places = places
        self.standby = standby
        self.timelines = Timelines(count_stale)
        self._search = PrimarySearch(len(places), self._connect, float(config.connect_timeout))
        self._config = config
        self._options = _options(config, [] if not standby else ["default_transaction_read_only"])
        self._ssl = ssl_of(config)

    async def open(self) -> Connection:
        """Return a connection to a server of the right role."""
        return await (self._connect(0) if len(self.places) == 1 else self._search.open())

    async def stop(self) -> None:
        """Stop looking at servers that are not in use."""
        await self._search.stop()

    def works(self, connection: Connection) -> bool:
        """Tell whether *connection* is open."""
        return not connection.is_closed()

    async def mend(self, connection: Connection) -> None:
        """Undo whatever was done to the session; raises where that cannot be."""
        if not connection.is_as_new:
            raise ValueError("codecs were set on the connection")
        if not connection.is_in_transaction():
            await connection.execute("SELECT")  # a BEGIN that was cut comes to its end first
        if connection.is_in_transaction():
            await connection.execute("ROLLBACK")
        await connection.reset()
        await connection.execute(_RESET_THE_REST)
        for (name,) in await connection.fetch(_PREPARED):
            await connection.execute(f"DEALLOCATE {quoted(name)}")

    async def close(self, connection: Connection) -> None:
        """Close *connection*, politely where it answers."""
        try:
            await connection.close(timeout=1.0)
        except BaseException:
            connection.terminate()
            raise

    def explain(self, error: Exception) -> str:
        """Return why no connection could be opened."""
        where = ", ".join(str(place) for place in self.places)
        if isinstance(error, asyncpg.InvalidPasswordError | asyncpg.InvalidAuthorizationSpecificationError):
            return f"{where} refuses the user or the password: {error}"
        if isinstance(error, asyncpg.InvalidCatalogNameError):
            return f"{where} has no such database: {error}"
        if isinstance(error, WrongRole | StalePrimary):
            return str(error)
        if isinstance(error, socket.gaierror):
            return f"the name of {where} is not known: {error.strerror}"
        if isinstance(error, ConnectionRefusedError):
            return f"nothing listens at {where}"
        return f"{where}: {type(error).__name__}: {error}"

    async def _connect(self, number: int) -> Connection:
        place = self.places[number]
        try:
            connection = await self._connected(place)
        except Exception:
            self.timelines.withdraw(str(place))
            raise
        try:
            await self._refuse_wrong_server(place, connection)
        except BaseException:
            connection.terminate()
            raise
        return connection

    async def _connected(self, place: Place) -> Connection:
        return await asyncpg.connect(
            host=place.host,
            port=place.port,
            user=place.user,
            database=place.database,
            password=self._password(place),
            ssl=self._ssl,
            record_class=PostgresRow,
            connection_class=PostgresConnection,
            **self._options,
        )

    def _password(self, place: Place) -> str | None:
        if self._config.password_file is not None:
            return Path(self._config.password_file).read_text().strip()
        if self._config.password is not None:
            return self._config.password.get_secret_value()
        return place.password

    async def _refuse_wrong_server(self, place: Place, connection: Connection) -> None:
        """Raise when the server has another role, of which it tells by itself since PostgreSQL 14, or is outdated."""
        is_standby = getattr(connection.get_settings(), "in_hot_standby", "off") == "on"
        if self.standby:
            if not is_standby:
                raise WrongRole(f"{place} is a primary, not a replica")
            return
        history = None if is_standby else await history_of(connection, self._options["timeout"])
        if history is None:
            self.timelines.withdraw(str(place))
            raise WrongRole(f"{place} is a standby and takes no writes; name the primary, or all servers in urls")
        self.timelines.admit(str(place), history, connection)


def _options(config: PoolConfig, read_only: Sequence[str]) -> dict[str, Any]:
    """Return asyncpg's options; pgbouncer takes no settings at the start, for it has no session to keep them in."""
    settings = dict.fromkeys(read_only, "on")
    if config.statement_cache:
        settings["statement_timeout"] = str(int(config.statement_timeout * 1000))
    return {
        "statement_cache_size": config.statement_cache,
        "server_settings": settings,
        "timeout": float(config.connect_timeout),
    }


def ssl_of(config: PoolConfig) -> Any:
    """Return what asyncpg takes for the TLS of *config*; raises OSError when its file is of no use."""
    if config.tls in ("disable", "prefer"):
        return config.tls
    context = ssl.create_default_context(cafile=config.tls_ca)
    context.check_hostname = config.tls == "verify-full"
    if config.tls == "require" and config.tls_ca is None:
        context.verify_mode = ssl.CERT_NONE
    return context
