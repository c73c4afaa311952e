"""Call an operator page of a running service, which the file names, for commands that show or change it."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from typing import Any

import orjson

from scalekit.config.field_types import loopback_of, socket_path
from scalekit.config.tables import Server, split_address
from scalekit.errors import ScalekitError

TIMEOUT = 10.0
"""Seconds to wait for the service."""
MAX_RESPONSE = 1 << 20
"""Bytes of a response that are read."""


class UnixConnection(HTTPConnection):
    """An HTTP connection to the Unix socket *name*: a path, or an abstract name after ``@``."""

    def __init__(self, name: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT)
        self._name = name

    def connect(self) -> None:
        """Connect to the socket; raises OSError."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT)
        self.sock.connect(f"\0{self._name[1:]}" if self._name.startswith("@") else self._name)


def call_operator_page(server: Server, path: str, change: Mapping[str, Any] | None, command: str) -> dict[str, Any]:
    """Return the JSON object of the page *path* of the running service, after *change*, which is sent if there is one.

    The service is found by management_address, or else by host and port, of *server*; *command* is the name of the
    caller in the log of the service. Raises ScalekitError with the remedy.
    """
    address = _address(server)
    connection = _connection(address)
    try:
        connection.request(
            "GET" if change is None else "POST",
            path,
            None if change is None else orjson.dumps(change),
            _headers(server, command),
        )
        response = connection.getresponse()
        status, body = response.status, response.read(MAX_RESPONSE)
    except (OSError, HTTPException) as error:
        message = f"no service responds at {address}: {error or type(error).__name__}"
        raise ScalekitError(f"{message}; is it running, with this file?") from None
    finally:
        connection.close()
    return _content(status, body)


def _content(status: int, body: bytes) -> dict[str, Any]:
    try:
        content = orjson.loads(body)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise ScalekitError(f"the service responds with {status} and no JSON; is it another service?")
    if status != 200:
        raise ScalekitError(str(content.get("detail") or f"the service responds with {status}"))
    return content


def _address(server: Server) -> str:
    """Return ``host:port`` or ``unix:NAME``; raises ScalekitError when the file does not tell where operators are."""
    if not server.has_operators:
        raise ScalekitError("the service has no operator pages; set server.management_address in the file")
    if server.management_address is not None:
        return server.management_address
    if server.tls is not None:
        raise ScalekitError("the public address is served with TLS; set server.management_address in the file")
    if socket_path(server.host):
        return server.host
    if not server.port:
        raise ScalekitError("server.port = 0 is chosen at the start; set server.management_address in the file")
    return f"[{server.host}]:{server.port}" if ":" in server.host else f"{server.host}:{server.port}"


def _connection(address: str) -> HTTPConnection:
    if name := socket_path(address):
        return UnixConnection(name)
    host, port = split_address(address)
    return HTTPConnection(loopback_of(host), port, timeout=TIMEOUT)


def _headers(server: Server, command: str) -> dict[str, str]:
    headers = {"content-type": "application/json", "user-agent": f"scalekit {command} of {_user()}"}
    if server.allowed_hosts:
        headers["host"] = server.allowed_hosts[0]
    if server.operator_token is not None:
        headers["authorization"] = f"Bearer {server.operator_token.get_secret_value()}"
    return headers


def _user() -> str:
    try:
        return getpass.getuser().encode("ascii", "replace").decode()
    except (KeyError, OSError):  # a user without a name, as in containers
        return "unknown"
