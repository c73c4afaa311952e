"""Connect to a server over TCP, TLS or a Unix socket, authenticate and select the database."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Mapping
from typing import Protocol

from scalekit import MASK, StartError
from scalekit_redis.commands import Reply
from scalekit_redis.errors import NOT_EXECUTED, ReplyError
from scalekit_redis.handshake import Handshake
from scalekit_redis.url import HostPort, RedisUrl, format_host

CONNECT_TIMEOUT = 3.0
"""Maximum time in seconds to connect, with TLS and handshake."""
KEEPALIVE = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))
"""Seconds until an idle connection is probed, between probes, and their number: firewalls drop idle connections."""
VERIFY_MODES = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}
DISABLED = ("0", "false", "no")
"""Values of ``ssl_check_hostname`` that disable the check."""
TOO_MANY_CLIENTS = "ERR max number of clients"
NOTHING: Mapping[str, str] = {}


class UnsuitableServerError(ConnectionError):
    """The server is reachable but is none of the required kind; *permanent* when it will never be."""

    def __init__(self, message: str, permanent: bool) -> None:
        super().__init__(message)
        self.permanent = permanent


class ServerConnector(Protocol):
    """Connects to the server of a :class:`Node`."""

    @property
    def host(self) -> HostPort | None:
        """The server, or None when it has no fixed address."""
        ...

    async def open(self) -> asyncio.Transport:
        """Return a connection that is ready for commands; raises OSError, ReplyError or TimeoutError."""
        ...

    def describe(self, error: BaseException) -> str:
        """Return in plain words, without secrets, why ``open`` failed."""
        ...

    def is_transient(self, error: BaseException) -> bool:
        """Return whether *error* is the reply of a server that is still starting (such as LOADING)."""
        ...

    def is_permanent(self, error: BaseException) -> bool:
        """Return whether *error* needs a change of the configuration."""
        ...


class Connector:
    """Connects to one server of *address*; *greeting* is the last command of the handshake.

    *required* are fields of the reply to ``HELLO``, which needs no permission, and the values that they must have:
    ``role`` is ``master`` or ``replica`` as in the reply to ``ROLE``, and ``mode`` is ``sentinel`` for a Sentinel.
    """

    def __init__(
        self,
        address: RedisUrl,
        host: HostPort | None,
        greeting: tuple[str, ...] = ("PING",),
        required: Mapping[str, str] = NOTHING,
    ) -> None:
        self._address = address
        self._host = host
        self._greeting = greeting
        self._required = required

    @property
    def host(self) -> HostPort | None:
        """The server, or None for a Unix socket."""
        return self._host

    async def open(self) -> asyncio.Transport:
        """Return a connection that is ready for commands.

        Raises OSError when the server is unreachable, UnsuitableServerError, ReplyError when it rejects the handshake,
        and TimeoutError.
        """
        async with asyncio.timeout(CONNECT_TIMEOUT):
            transport, handshake = await self._connect()
            try:
                self._verify(await handshake.replied)
            except BaseException:
                transport.abort()
                raise
        return transport

    def _verify(self, hello: Mapping[bytes, Reply]) -> None:
        for name, expected in self._required.items():
            value = hello.get(name.encode(), b"")
            if value != expected.encode():
                place = format_host(self._host) if self._host else self._address.path
                found = value.decode(errors="replace") if isinstance(value, bytes) else ""
                raise UnsuitableServerError(f"{place} has the {name} {found!r}, expected {expected!r}", name == "mode")

    async def _connect(self) -> tuple[asyncio.Transport, Handshake]:
        loop = asyncio.get_running_loop()
        commands = self._commands()
        if self._host is None:
            return await loop.create_unix_connection(lambda: Handshake(commands), self._address.path)
        tls = _tls_context(dict(self._address.tls)) if self._address.secure else None
        host, port = self._host
        transport, handshake = await loop.create_connection(lambda: Handshake(commands), host, port, ssl=tls)
        _keep_alive(transport.get_extra_info("socket"))
        return transport, handshake

    def _commands(self) -> list[tuple[str, ...]]:
        address = self._address
        user = address.username or ("default" if address.password else "")
        hello = ("HELLO", "3", "AUTH", user, address.password or "") if user else ("HELLO", "3")
        select = [("SELECT", str(address.db))] if address.db else []
        return [hello, *select, self._greeting]

    def describe(self, error: BaseException) -> str:
        """Return in plain words, without secrets, why ``open`` failed."""
        if type(error) is TimeoutError:
            return f"no connection within {CONNECT_TIMEOUT:g}s"
        text = str(error) or type(error).__name__
        password = self._address.password
        return text.replace(password, MASK) if password else text

    def is_transient(self, error: BaseException) -> bool:
        """Return whether *error* is the reply of a server that is still starting (such as LOADING)."""
        return isinstance(error, ReplyError) and error.code in NOT_EXECUTED

    def is_permanent(self, error: BaseException) -> bool:
        """Return whether *error* needs a change of the configuration."""
        rejected = isinstance(error, ReplyError) and not self.is_transient(error)
        if rejected and str(error).startswith(TOO_MANY_CLIENTS):
            return False
        unsuitable = isinstance(error, UnsuitableServerError) and error.permanent
        return rejected or unsuitable or isinstance(error, ssl.SSLCertVerificationError)


def _tls_context(options: Mapping[str, str]) -> ssl.SSLContext:
    """Return the TLS context of the URL's *options*, such as ``ssl_ca_certs``; raises OSError for unreadable files."""
    context = ssl.create_default_context()
    mode = options.get("ssl_cert_reqs", "required")
    if mode not in VERIFY_MODES:
        raise StartError(f"ssl_cert_reqs must be none, optional or required, got {mode!r}")
    checks_name = options.get("ssl_check_hostname", "").lower() not in DISABLED
    context.check_hostname = checks_name and mode != "none"
    context.verify_mode = VERIFY_MODES[mode]
    certificate, key = options.get("ssl_certfile"), options.get("ssl_keyfile")
    if certificate is not None or key is not None:
        context.load_cert_chain(certificate or "", key)
    if "ssl_ca_certs" in options:
        context.load_verify_locations(options["ssl_ca_certs"])
    return context


def _keep_alive(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE:
        if hasattr(socket, name):  # macOS lacks some of them
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
