"""``scalekit log-level``: show the levels of the log of a running service, or override them for a limited time."""

from __future__ import annotations

import getpass
from http.client import HTTPConnection, HTTPException
from typing import Any

import click
import orjson

from scalekit.cli.source import ConfigCommand, FileSource, config_options
from scalekit.config.tables import Server, split_address
from scalekit.log_level.overrides import LEVELS
from scalekit.log_level.page import DEFAULT_DURATION, MAX_DURATION, PATH
from scalekit.terminal import print_table

TIMEOUT = 10.0
"""Seconds to wait for the service."""
RESET = "reset"


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
    host, port = _address(server)
    connection = HTTPConnection(host, port, timeout=TIMEOUT)
    try:
        connection.request(
            "GET" if change is None else "POST",
            PATH,
            None if change is None else orjson.dumps(change),
            _headers(server),
        )
        response = connection.getresponse()
        status, body = response.status, response.read()
    except (OSError, HTTPException) as error:
        message = f"no service responds at {host}:{port}: {error or type(error).__name__}"
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


def _address(server: Server) -> tuple[str, int]:
    if server.management_address is None and not (server.operator_networks or server.operator_token):
        raise click.ClickException("the service has no operator pages; set server.management_address in the file")
    host, port = split_address(server.management_address) if server.management_address else (server.host, server.port)
    if server.tls is not None and server.management_address is None:
        raise click.ClickException("the public address is served with TLS; set server.management_address in the file")
    if not port:
        raise click.ClickException("server.port = 0 is chosen at the start; set server.management_address in the file")
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "*": "127.0.0.1"}.get(host, host), port


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
