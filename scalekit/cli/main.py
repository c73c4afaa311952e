"""The command group ``scalekit``: commands of the host and of the plugins that the file enables."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import click

from scalekit import terminal
from scalekit.cli.source import (
    ARGV,
    TRACEBACK,
    ConfigGroup,
    FileSource,
    config_options,
    missing_config_options,
    source_from_argv,
)
from scalekit.errors import ConfigError, ScalekitError

COMMANDS = {
    "check": "scalekit.cli.check:check",
    "config": "scalekit.cli.config:config",
    "deploy": "scalekit.cli.deploy:deploy",
    "doctor": "scalekit.cli.doctor:doctor",
    "get": "scalekit.cli.get:get",
    "log-level": "scalekit.cli.log_level:log_level",
    "new": "scalekit.cli.new:new",
    "plugins": "scalekit.cli.plugins:plugins",
    "routes": "scalekit.cli.routes:routes",
    "run": "scalekit.cli.run:run",
    "schema": "scalekit.cli.schema:schema",
}


class Commands(click.Group):
    """Looks up commands of the host, then those of plugins."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands; without those of plugins when the file is invalid."""
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
        """Return the command and its arguments; the error for an unknown one suggests the closest name."""
        if self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            raise click.UsageError(f"No such command {args[0]!r}{_hint(ctx, args[0], self.list_commands(ctx))}", ctx)
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse *args* and store them: the file, which determines the commands of plugins, may follow the command."""
        ctx.meta[ARGV] = list(args)
        ctx.meta[TRACEBACK] = "--traceback" in args
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; print a ScalekitError and exit with its status."""
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            _trace(ctx, error)
            for problem in error.problems:
                terminal.print_error(str(problem))
            count = len(error.problems)
            click.echo(f"{count} mistake{'s' * (count != 1)} in the configuration; not started", err=True)
            ctx.exit(error.exit_status)
        except ScalekitError as error:
            _trace(ctx, error)
            terminal.print_error(str(error))
            ctx.exit(error.exit_status)


def _hint(ctx: click.Context, name: str, known: list[str]) -> str:
    from scalekit.config.name_suggestion import did_you_mean
    from scalekit.plugins import installed

    if name not in installed():
        return did_you_mean(name, known)
    source = source_from_argv(ctx)
    if not source.exists():
        return f"; commands of the plugin {name!r} need a file that enables it, and there is no file {source.file!r}"
    return f"; to enable the commands of the plugin {name!r}, add the table [plugins.{name}] to {source.file}"


def _trace(ctx: click.Context, error: BaseException) -> None:
    if ctx.meta.get(TRACEBACK):
        terminal.print_traceback(error)


def _plugin_groups(ctx: click.Context) -> dict[str, click.Group]:
    source = source_from_argv(ctx)
    if not source.exists():
        return {}
    groups: dict[str, click.Group] = {}
    for name, commands in source.plugin_commands().items():
        groups[name] = ConfigGroup(name, help=f"Commands of plugin {name}.", params=missing_config_options(()))
        for command in commands:
            groups[name].add_command(command)
    return groups


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="scalekit-asgi", prog_name="scalekit")
@config_options
def group(source: FileSource) -> None:
    """Run ASGI applications with plugins, configured by one TOML file.

    \b
    Exit status: 0 success, 1 a check or start failed, 2 usage error, 78 mistakes in the file.
    """


def main() -> None:
    """Run the command line."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    group()
