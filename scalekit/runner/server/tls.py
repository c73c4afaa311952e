"""TLS of the public address: accept connections, and reload the certificate."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from time import monotonic
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from scalekit.config.server_tls import ServerTls
from scalekit.errors import StartError

logger = logging.getLogger("scalekit")


class Handshaking(Protocol):
    """A connection that has a transport after its handshake."""

    transport: asyncio.Transport


class TlsListener:
    """Accepts TLS connections with the certificate of *table*, which :meth:`reload` replaces for new connections.

    The event loop creates a connection object when it accepts a socket, and does not report a failed handshake; so one
    without a transport is in its handshake, for `handshake_timeout` at most.
    """

    def __init__(self, table: ServerTls, backlog: int, write_timeout: float) -> None:
        """Load the files of *table*; raises StartError when they cannot be used any more."""
        self._table = table
        self._backlog = backlog
        self._write_timeout = write_timeout
        try:
            self._context = self._current = table.ssl_context()
        except ValueError as error:
            raise StartError(f"server.tls: {error}") from None
        self._handshake_ends: WeakKeyDictionary[Handshaking, float] = WeakKeyDictionary()

    async def serve(self, listener: socket.socket, create: Callable[[], asyncio.Protocol]) -> asyncio.Server:
        """Accept connections on *listener*, each with a protocol of *create*."""

        def begin_handshake() -> asyncio.Protocol:
            connection: Any = create()
            self._handshake_ends[connection] = monotonic() + self._table.handshake_timeout
            return connection  # type: ignore[no-any-return]  # uvicorn's protocols have no common class

        return await asyncio.get_running_loop().create_server(
            begin_handshake,
            sock=listener,
            backlog=self._backlog,
            ssl=self._context,
            ssl_handshake_timeout=self._table.handshake_timeout,
            ssl_shutdown_timeout=self._write_timeout,  # it includes the time to write the rest of a response
        )

    def has_handshakes(self) -> bool:
        """Return whether a handshake is in progress."""
        now = monotonic()
        return any(each.transport is None and end > now for each, end in self._handshake_ends.items())

    def reload(self) -> None:
        """Read the files again; when they cannot be used, log an error and keep the certificate."""
        try:
            self._current = self._table.ssl_context()
        except ValueError as error:
            logger.error("server.tls: %s; the previous certificate stays in use", error)
            return
        # The listener keeps its context, and each handshake takes the current one at its beginning.
        self._context.sni_callback = self._use_current
        logger.info("server.tls: new connections get the certificate that %s has now", self._table.cert_file)

    def _use_current(self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        connection.context = self._current
