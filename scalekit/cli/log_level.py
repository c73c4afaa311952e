"""``scalekit log-level``: show the levels of the log of a running service, or override them for a limited time."""

from __future__ import annotations

import getpass
import socket
from http.client import HTTPConnection, HTTPException
from typing import Any

import click
import orjson

from scalekit.cli.source import ConfigCommand, FileSource, config_options
from scalekit.config.field_types import socket_path
from scalekit.config.tables import Server, split_address
from scalekit.log_level.overrides import LEVELS
from scalekit.log_level.page import DEFAULT_DURATION, MAX_DURATION, PATH
from scalekit.terminal import print_table

TIMEOUT = 10.0
"""Seconds to wait for the service."""
MAX_RESPONSE = 1 << 20
"""Bytes of a response that are read."""
RESET = "reset"


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


@click.command("log-level", cls=ConfigCommand)
@click.argument("level", required=False, metavar="[LEVEL|reset]")
@click.option(
    "--for",
    "duration",
    default=DEFAULT_DURATION,
    help=f"Time until the configured level returns; at most {MAX_DURATION}.",
)
@click.option("--logger", metavar="NAME", help="Only for this logger and those below it.")
@config_options
def log_level(source: FileSource, level: str | None, duration: str, logger: str | None) -> None:
    """Override the log level of a running service, in all workers; without LEVEL, show the levels.

    The service is found by server.management_address, or else by server.host and server.port, in the file.
    """
    change: dict[str, str] | None = None
    if level is not None:
        change = _change(level.lower(), duration, logger)
    _print(_request(source.settings().server, change))


def _change(level: str, duration: str, logger: str | None) -> dict[str, str]:
    if level not in (*LEVELS, RESET):
        raise click.BadParameter(f"expected {', '.join(LEVELS)} or {RESET}, got {level!r}", param_hint="LEVEL")
    return {"level": level, "for": duration, **({"logger": logger} if logger else {})}


def _request(server: Server, change: dict[str, str] | None) -> dict[str, Any]:
    """Send *change*, or ask for the levels without one; raises ClickException with the remedy."""
    address = _address(server)
    connection = _connection(address)
    try:
        connection.request(
            "GET" if change is None else "POST",
            PATH,
            None if change is None else orjson.dumps(change),
            _headers(server),
        )
        response = connection.getresponse()
        status, body = response.status, response.read(MAX_RESPONSE)
    except (OSError, HTTPException) as error:
        message = f"no service responds at {address}: {error or type(error).__name__}"
        raise click.ClickException(f"{message}; is it running, with this file?") from None
    finally:
        connection.close()
    return _content(status, body)


def _content(status: int, body: bytes) -> dict[str, Any]:
    try:
        content = orjson.loads(body)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise click.ClickException(f"the service responds with {status} and no JSON; is it another service?")
    if status != 200:
        raise click.ClickException(str(content.get("detail") or f"the service responds with {status}"))
    return content


def _address(server: Server) -> str:
    """Return ``host:port`` or ``unix:NAME``; raises ClickException when the file does not tell where operators are."""
    if server.management_address is None and not (server.operator_networks or server.operator_token):
        raise click.ClickException("the service has no operator pages; set server.management_address in the file")
    if server.management_address is not None:
        return server.management_address
    if server.tls is not None:
        raise click.ClickException("the public address is served with TLS; set server.management_address in the file")
    if socket_path(server.host):
        return server.host
    if not server.port:
        raise click.ClickException("server.port = 0 is chosen at the start; set server.management_address in the file")
    return f"[{server.host}]:{server.port}" if ":" in server.host else f"{server.host}:{server.port}"


def _connection(address: str) -> HTTPConnection:
    if name := socket_path(address):
        return UnixConnection(name)
    host, port = split_address(address)
    return HTTPConnection({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port, timeout=TIMEOUT)


def _headers(server: Server) -> dict[str, str]:
    headers = {"content-type": "application/json", "user-agent": f"scalekit log-level of {_user()}"}
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


def _remaining(seconds: float) -> str:
    minutes, rest = divmod(max(1, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return " ".join(f"{number}{unit}" for number, unit in ((hours, "h"), (minutes, "m"), (rest, "s")) if number)


def _print(content: dict[str, Any]) -> None:
    levels, overrides = content["levels"], content["overrides"]
    rows = []
    for name in sorted({*levels, *overrides}):
        override = overrides.get(name)
        configured = levels.get(name, "")
        rows.append(
            (
                name or "all others",
                override["level"] if override else configured,
                configured or "inherited",
                _remaining(override["remaining_seconds"]) if override else "",
            )
        )
    print_table(["logger", "level", "configured", "ends in"], rows)
