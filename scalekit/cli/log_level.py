"""``scalekit log-level``: show the levels of the log of a running service, or override them for a limited time."""

from __future__ import annotations

from typing import Any

import click

from scalekit.cli.source import ConfigCommand, FileSource, config_options
from scalekit.log_level.overrides import LEVELS
from scalekit.log_level.page import DEFAULT_DURATION, MAX_DURATION, PATH
from scalekit.operator_client import call_operator_page
from scalekit.terminal import format_duration, print_table

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
    _print(call_operator_page(source.settings().server, PATH, change, "log-level"))


def _change(level: str, duration: str, logger: str | None) -> dict[str, str]:
    if level not in (*LEVELS, RESET):
        raise click.BadParameter(f"expected {', '.join(LEVELS)} or {RESET}, got {level!r}", param_hint="LEVEL")
    return {"level": level, "for": duration, **({"logger": logger} if logger else {})}


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
                format_duration(override["remaining_seconds"]) if override else "",
            )
        )
    print_table(["logger", "level", "configured", "ends in"], rows)
