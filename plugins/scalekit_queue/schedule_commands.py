"""``scalekit queue schedules``, which shows and changes the schedules of the running service."""

from __future__ import annotations

from typing import Any

import click

from scalekit import Context, call_operator_page
from scalekit_queue.command_output import json_option, print_rows
from scalekit_queue.schedule_page import DONE, PATH

COLUMNS = ("name", "rule", "state", "last", "next", "outcome", "duration")
HELP = {
    "pause": "Publish no ticks of NAME, in all instances, until it is resumed.",
    "resume": "Publish the ticks of NAME again, from now on.",
    "trigger": "Publish a tick of NAME now.",
}


def schedule_commands(context: Context) -> list[click.Command]:
    """Return the group of commands for the service of *context*."""

    def call(change: dict[str, str] | None, command: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = call_operator_page(context.server, PATH, change, f"queue {command}")["schedules"]
        return found

    @click.group("schedules", invoke_without_command=True)
    @json_option
    @click.pass_context
    def schedules(ctx: click.Context, as_json: bool) -> None:
        """List the schedules with their last and next ticks, or pause, resume or trigger one."""
        if ctx.invoked_subcommand is None:
            print_rows(call(None, "schedules"), COLUMNS, as_json)

    def add(action: str) -> None:
        @schedules.command(action, help=HELP[action])
        @click.argument("name")
        def change(name: str) -> None:
            call({"action": action, "schedule": name}, f"schedules {action}")
            click.echo(f"{DONE[action]} {name}")

    for action in DONE:
        add(action)
    return [schedules]
