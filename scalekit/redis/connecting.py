"""Open connections with redis-py, which knows TLS, AUTH, HELLO and SELECT, and take them over from it."""

from __future__ import annotations

import asyncio
import ssl
from functools import partial
from typing import Any, cast

from redis.asyncio import Connection, SSLConnection, UnixDomainSocketConnection
from redis.exceptions import AuthenticationError, BusyLoadingError, ResponseError

from scalekit.config.mask import MASK
from scalekit.redis.address import Address, Host
from scalekit.redis.errors import NOT_RUN

CONNECT_TIMEOUT = 3.0
"""Seconds that a connection may take to open, greeting included; on a busy machine that takes one now and then."""

AnyConnection = Connection | UnixDomainSocketConnection


class Opened:
    """A connection that is ready for commands: its *transport*, and what must be kept as long as that lives."""

    def __init__(self, transport: asyncio.Transport, keep: object) -> None:
        self.transport = transport
        self.keep = keep


class Connector:
    """Opens connections to one server of *address*; *greeting* is a command that each of them begins with."""

    def __init__(self, address: Address, host: Host | None, greeting: tuple[str, ...] = ("PING",)) -> None:
        self._address = address
        self.host = host
        self._greeting = greeting

    async def open(self) -> Opened:
        """Return a new connection; raises what redis-py raises, and TimeoutError."""
        connection = self._connection()
        task = asyncio.ensure_future(self._greet(connection))
        try:
            await asyncio.wait([task], timeout=CONNECT_TIMEOUT)
            if not task.done():
                raise TimeoutError
            return task.result()
        except BaseException:
            task.cancel()
            task.add_done_callback(partial(_forget, connection))
            raise

    async def _greet(self, connection: AnyConnection) -> Opened:
        await connection.connect()  # type: ignore[no-untyped-call]
        await connection.send_command(*self._greeting)
        await connection.read_response()
        return await _taken_over(connection)

    def explain(self, error: BaseException) -> str:
        """Return in plain words, without secrets, why ``open`` failed."""
        if type(error) is TimeoutError:
            return f"no connection within {CONNECT_TIMEOUT:g}s"
        text = str(error) or type(error).__name__
        password = self._address.password
        return text.replace(password, MASK) if password else text

    def is_passing(self, error: BaseException) -> bool:
        """Tell whether *error* is the reply of a server that will soon be ready."""
        return isinstance(error, BusyLoadingError) or str(error).partition(" ")[0] in NOT_RUN

    def is_refusal(self, error: BaseException) -> bool:
        """Tell whether *error* does not pass by itself."""
        refused = isinstance(error, AuthenticationError | ResponseError) and not self.is_passing(error)
        return refused or isinstance(error.__context__, ssl.SSLCertVerificationError)

    def _connection(self) -> AnyConnection:
        address = self._address
        options: dict[str, Any] = {
            "username": address.username,
            "password": address.password,
            "db": address.db,
            "protocol": 3,
            "socket_timeout": CONNECT_TIMEOUT,
            "socket_connect_timeout": CONNECT_TIMEOUT,
        }
        if self.host is None:
            return UnixDomainSocketConnection(path=address.path, **options)
        options["host"], options["port"] = self.host
        if not address.secure:
            return Connection(**options)
        tls: dict[str, Any] = dict(address.tls)
        if "ssl_check_hostname" in tls:
            tls["ssl_check_hostname"] = tls["ssl_check_hostname"].lower() not in ("0", "false", "no")
        return SSLConnection(**tls, **options)


def _forget(connection: AnyConnection, task: asyncio.Task[Opened]) -> None:
    """Close what nobody wants any more.

    redis-py does not always end when it is cancelled while it connects, so nobody waits for it; nor for what it then
    says.
    """
    connection._close()  # type: ignore[no-untyped-call]
    if not task.cancelled() and task.exception() is None:
        task.result().transport.abort()


async def _taken_over(connection: AnyConnection) -> Opened:
    """Take the transport out of *connection*, which must have read all there is."""
    if await connection.can_read():
        raise ConnectionError("the server said more than it was asked")
    writer = connection._writer
    if writer is None:
        raise ConnectionError("the server closed the connection")
    connection._writer = connection._reader = None  # else it warns when it is forgotten
    return Opened(cast(asyncio.Transport, writer.transport), writer)
