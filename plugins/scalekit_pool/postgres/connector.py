"""Open, reset and close connections to PostgreSQL with asyncpg."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Mapping, Sequence

import asyncpg

from scalekit_pool.connections.driver import DriverOptions, RawConnection, Untyped, Value, quoted
from scalekit_pool.connections.server_address import ServerAddress, parse_server_address
from scalekit_pool.postgres.primary_search import PrimarySearch
from scalekit_pool.postgres.timelines import StalePrimary, Timelines, read_timeline

# State that asyncpg's own reset does not clear: the role, temporary tables, cached sequence values.
_RESET_REMAINING = "SET SESSION AUTHORIZATION DEFAULT; DISCARD TEMP; DISCARD SEQUENCES"
_PREPARED = "SELECT name FROM pg_prepared_statements WHERE from_sql"


class PostgresRow(asyncpg.Record):  # type: ignore[misc] # asyncpg: untyped
    """An asyncpg row whose columns are attributes too."""

    def __getattr__(self, name: str) -> Value:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    @property
    def _mapping(self) -> Mapping[str, Value]:
        return dict(self)


class PostgresConnection(asyncpg.Connection):  # type: ignore[misc] # asyncpg: untyped
    """A connection that records whether type codecs were set, which no reset undoes."""

    has_default_codecs = True
    changed_schema = False  # in its open transaction
    schema_version = 0
    timeline = 0
    prepared: Untyped = None  # the prepared statements of ORM sessions, once there are any

    def _drop_local_statement_cache(self) -> None:
        super()._drop_local_statement_cache()
        if self.prepared is not None:
            self.prepared.clear()

    async def set_type_codec(self, *args: object, **options: object) -> None:
        """Set the codec of a type."""
        self.has_default_codecs = False
        await super().set_type_codec(*args, **options)

    async def set_builtin_type_codec(self, *args: object, **options: object) -> None:
        """Set the codec of a type to that of a built-in one."""
        self.has_default_codecs = False
        await super().set_builtin_type_codec(*args, **options)


def parse_address(address: str) -> ServerAddress:
    """Return the server address of the URL *address*."""
    return parse_server_address(address, 5432, "postgres")


class WrongRole(ConnectionError):
    """The server is a standby where a primary is needed, or the reverse."""


class PostgresConnector:
    """Opens connections to the first of *addresses* that has the required role."""

    def __init__(
        self, addresses: Sequence[ServerAddress], options: DriverOptions, standby: bool, count_stale: Callable[[], None]
    ) -> None:
        self.addresses = addresses
        self.standby = standby
        self.timelines = Timelines(count_stale)
        self._search = PrimarySearch(len(addresses), self._connect, options.limits.connect_timeout)
        self._options = options
        self._arguments = _connect_arguments(options, standby)

    async def open(self) -> RawConnection:
        """Return a connection to a server with the required role."""
        return await (self._connect(0) if len(self.addresses) == 1 else self._search.open())

    async def stop(self) -> None:
        """Stop watching servers that are not in use."""
        await self._search.stop()

    def is_open(self, connection: RawConnection) -> bool:
        """Return whether *connection* is open."""
        return not connection.is_closed()

    async def reset(self, connection: RawConnection) -> None:
        """Restore the session state of a new connection; raise when that is not possible."""
        if not connection.has_default_codecs:
            raise ValueError("type codecs were set on the connection")
        if not connection.is_in_transaction():
            await connection.execute("SELECT")  # lets an interrupted BEGIN finish first
        if connection.is_in_transaction():
            await connection.execute("ROLLBACK")
        await connection.reset()
        await connection.execute(_RESET_REMAINING)
        for (name,) in await connection.fetch(_PREPARED):
            await connection.execute(f"DEALLOCATE {quoted(name)}")

    async def close(self, connection: RawConnection) -> None:
        """Close *connection*, terminating it when the server does not respond."""
        try:
            await connection.close(timeout=1.0)
        except BaseException:
            connection.terminate()
            raise

    def explain(self, error: Exception) -> str:
        """Return why no connection could be opened."""
        where = ", ".join(str(address) for address in self.addresses)
        if isinstance(error, asyncpg.InvalidPasswordError | asyncpg.InvalidAuthorizationSpecificationError):
            return f"{where} refuses the user or the password: {error}"
        if isinstance(error, asyncpg.InvalidCatalogNameError):
            return f"{where} has no such database: {error}"
        if isinstance(error, WrongRole | StalePrimary):
            return str(error)
        if isinstance(error, socket.gaierror):
            return f"host name of {where} cannot be resolved: {error.strerror}"
        if isinstance(error, ConnectionRefusedError):
            return f"nothing listens at {where}"
        return f"{where}: {type(error).__name__}: {error}"

    async def _connect(self, number: int) -> RawConnection:
        address = self.addresses[number]
        try:
            connection = await self._open_connection(address)
        except Exception:
            self.timelines.forget_refusal(str(address))
            raise
        try:
            await self._check_role(address, connection)
        except BaseException:
            connection.terminate()
            raise
        return connection

    async def _open_connection(self, address: ServerAddress) -> RawConnection:
        return await asyncpg.connect(
            host=address.host,
            port=address.port,
            user=address.user,
            database=address.database,
            password=address.current_password(self._options),
            record_class=PostgresRow,
            connection_class=PostgresConnection,
            **self._arguments,
        )

    async def _check_role(self, address: ServerAddress, connection: RawConnection) -> None:
        """Raise when the server has the wrong role, which it reports since PostgreSQL 14, or an old timeline."""
        is_standby = getattr(connection.get_settings(), "in_hot_standby", "off") == "on"
        if self.standby:
            if not is_standby:
                raise WrongRole(f"{address} is a primary, not a replica")
            return
        timeline = None if is_standby else await read_timeline(connection, self._options.limits.connect_timeout)
        if timeline is None:
            self.timelines.forget_refusal(str(address))
            raise WrongRole(
                f"{address} is a standby and takes no writes; name the primary, or list all servers in urls"
            )
        self.timelines.admit(str(address), timeline, connection)


def _connect_arguments(options: DriverOptions, standby: bool) -> dict[str, Value]:
    """Return arguments of asyncpg's ``connect``; without a statement cache, for pgbouncer, no statement_timeout."""
    settings = {"default_transaction_read_only": "on"} if standby else {}
    if options.statement_cache_size:
        settings["statement_timeout"] = str(int(options.statement_timeout * 1000))
    return {
        "ssl": ssl_context(options),
        "statement_cache_size": options.statement_cache_size,
        "server_settings": settings,
        "timeout": options.limits.connect_timeout,
    }


def ssl_context(options: DriverOptions) -> ssl.SSLContext | str:
    """Return asyncpg's ``ssl`` argument; raise OSError when sslrootcert cannot be loaded."""
    if options.sslmode in ("disable", "prefer"):
        return options.sslmode
    context = ssl.create_default_context(cafile=options.sslrootcert)
    context.check_hostname = options.sslmode == "verify-full"
    if options.sslmode == "require" and options.sslrootcert is None:
        context.verify_mode = ssl.CERT_NONE
    return context
