"""``scalekit queue pause``, ``resume`` and ``paused``, which change and show the consumers of the running service."""

from __future__ import annotations

from typing import Any

import click

from scalekit import Context, call_operator_page, format_duration
from scalekit_queue.command_output import json_option, print_rows
from scalekit_queue.pause_page import DEFAULT_PAUSE, MAX_PAUSE, PATH, PAUSE, RESUME


def pause_commands(context: Context) -> list[click.Command]:
    """Return the commands for the service of *context*."""

    def call(change: dict[str, str] | None, command: str) -> dict[str, Any]:
        found: dict[str, Any] = call_operator_page(context.server, PATH, change, f"queue {command}")["paused"]
        return found

    @click.command(PAUSE)
    @click.argument("name")
    @click.option(
        "--for", "duration", default=DEFAULT_PAUSE, help=f"Time until it takes messages again; at most {MAX_PAUSE}."
    )
    def pause(name: str, duration: str) -> None:
        """Pause the consumer of NAME in all workers of the running service."""
        paused = call({"action": PAUSE, "queue": name, "for": duration}, PAUSE)
        click.echo(f"paused {name} for {format_duration(paused[name]['remaining_seconds'])}")

    @click.command(RESUME)
    @click.argument("name")
    def resume(name: str) -> None:
        """Let the consumer of NAME take messages again, in all workers of the running service."""
        call({"action": RESUME, "queue": name}, RESUME)
        click.echo(f"resumed {name}")

    @click.command("paused")
    @json_option
    def list_paused(as_json: bool) -> None:
        """List the paused consumers of the running service, and how long each stays paused."""
        paused = {name: each["remaining_seconds"] for name, each in call(None, "paused").items()}
        if as_json:
            rows = [{"name": name, "remaining_seconds": seconds} for name, seconds in paused.items()]
        else:
            rows = [{"name": name, "ends in": format_duration(seconds)} for name, seconds in paused.items()]
        print_rows(rows, ("name", "ends in"), as_json)

    return [pause, resume, list_paused]
