"""The group of all commands: the host's own, and those of the plugins that the file turns on."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import click

from scalekit import terminal
from scalekit.cli.source import (
    TRACEBACK,
    WORDS,
    FileSource,
    ReadingGroup,
    config_options,
    named_source,
    reading_options,
)
from scalekit.errors import ConfigError, ScalekitError

COMMANDS = {
    "check": "scalekit.cli.check:check",
    "config": "scalekit.cli.config:config",
    "get": "scalekit.cli.get:get",
    "new": "scalekit.cli.new:new",
    "plugins": "scalekit.cli.plugins:plugins",
    "routes": "scalekit.cli.routes:routes",
    "run": "scalekit.cli.run:run",
    "schema": "scalekit.cli.schema:schema",
}


class Commands(click.Group):
    """Find a command among the host's, then among the plugins'."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands; a file that cannot be loaded just adds none."""
        try:
            return [*sorted(COMMANDS), *_plugin_groups(ctx)]
        except ScalekitError:
            return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return the command *cmd_name*."""
        if cmd_name in COMMANDS:
            module, _, attribute = COMMANDS[cmd_name].partition(":")
            command: click.Command = getattr(importlib.import_module(module), attribute)
            return command
        return _plugin_groups(ctx).get(cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command and its arguments; for an unknown one the message suggests the closest name."""
        if self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            raise click.UsageError(f"No such command {args[0]!r}{_hint(ctx, args[0], self.list_commands(ctx))}", ctx)
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse *args*, and keep them: commands of plugins are in a file that may be named behind them."""
        ctx.meta[WORDS] = list(args)
        ctx.meta[TRACEBACK] = "--traceback" in args
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what ScaleKit raises on purpose becomes a message and an exit status."""
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            _trace(ctx, error)
            for problem in error.problems:
                terminal.print_error(str(problem))
            count = len(error.problems)
            click.echo(f"{count} mistake{'s' * (count != 1)} in the configuration; nothing was started", err=True)
            ctx.exit(error.exit_status)
        except ScalekitError as error:
            _trace(ctx, error)
            terminal.print_error(str(error))
            ctx.exit(error.exit_status)


def _hint(ctx: click.Context, name: str, known: list[str]) -> str:
    from scalekit.app_loader import did_you_mean
    from scalekit.plugins import installed

    if name not in installed():
        return did_you_mean(name, known)
    source = named_source(ctx)
    if not source.exists():
        return f"; commands of the plugin {name!r} need a file that turns it on, and there is no file {source.file!r}"
    return f"; commands of the plugin {name!r} are there when {source.file} has the table [plugins.{name}]"


def _trace(ctx: click.Context, error: BaseException) -> None:
    if ctx.meta.get(TRACEBACK):
        terminal.print_traceback(error)


def _plugin_groups(ctx: click.Context) -> dict[str, click.Group]:
    source = named_source(ctx)
    if not source.exists():
        return {}
    groups: dict[str, click.Group] = {}
    for name, commands in source.prepared_commands().items():
        groups[name] = ReadingGroup(name, help=f"Commands of plugin {name}.", params=reading_options(()))
        for command in commands:
            groups[name].add_command(command)
    return groups


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="scalekit-asgi", prog_name="scalekit")
@config_options
def group(source: FileSource) -> None:
    """Put any ASGI application under one TOML file and its plugins.

    \b
    Exit status: 0 well, 1 a check or start failed, 2 wrong usage, 78 mistakes in the file.
    """


def main() -> None:
    """Run the command line."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    group()
