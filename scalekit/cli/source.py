"""The file and the overrides of a command: ``-c FILE``, ``--set KEY=VALUE``."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from scalekit.host import Host
    from scalekit.settings import Settings

DEFAULT_FILE = "scalekit.toml"
SUFFIX = ".toml"
"""Suffix by which the last argument of a command is recognized as the file."""
FILE_OPTION = ("-c", "--config", "file")
FILE_HELP = f"Configuration file; by default {DEFAULT_FILE}."
SET_OPTION = ("--set", "overrides")
SET_HELP = "Override a key; repeatable."
TRACEBACK_HELP = "Print the traceback of an error."


@dataclass(frozen=True, slots=True)
class FileSource:
    """The file and the overrides of a command line; *only* as in ``scalekit run --only``."""

    file: str = DEFAULT_FILE
    overrides: tuple[str, ...] = ()
    only: tuple[str, ...] = ()

    @property
    def is_named(self) -> bool:
        """Whether the file was named explicitly and must therefore exist."""
        return self.file != DEFAULT_FILE

    def exists(self) -> bool:
        """Return whether the file exists."""
        return Path(self.file).is_file()

    def settings(self) -> Settings:
        """Return the validated settings; raises ConfigError with all mistakes."""
        from scalekit.settings import load

        settings = load(self.file, self.overrides, self.only)
        settings.raise_problems()
        return settings

    def host(self) -> Host:
        """Build the host and return it; raises ConfigError with all mistakes."""
        from scalekit.app import create_app

        return create_app(self.file, overrides=self.overrides, only=self.only)

    def plugin_commands(self) -> dict[str, list[click.Command]]:
        """Return the commands of enabled plugins by plugin name."""
        from scalekit.app import prepare

        settings = self.settings()
        return settings.plugins.commands(prepare(settings).context)


TRACEBACK = "scalekit.traceback"
"""Key in the metadata of a click context: whether to print tracebacks."""
ARGV = "scalekit.argv"
"""Key in the metadata of a click context: all arguments, from which the file is found before commands are known."""


def config_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--config``, ``--set`` and ``--traceback`` to a command, which receives a FileSource as *source*."""

    @click.option(*FILE_OPTION, metavar="FILE", help=FILE_HELP)
    @click.option(*SET_OPTION, metavar="KEY=VALUE", multiple=True, help=SET_HELP)
    @click.option("--traceback", is_flag=True, expose_value=False, help=TRACEBACK_HELP)
    @click.pass_context
    @functools.wraps(function)
    def command(ctx: click.Context, /, **arguments: Any) -> Any:
        for name in ("file", "overrides", "positional"):
            arguments.pop(name, None)
        return function(source=source_of(ctx), **arguments)

    return command


def file_argument(function: Callable[..., Any]) -> Callable[..., Any]:
    """Accept the file as an argument, as in ``scalekit run shop.toml``; apply above :func:`config_options`."""
    return click.argument("positional", metavar="[FILE]", required=False)(function)


def source_of(ctx: click.Context) -> FileSource:
    """Return the source of the command of *ctx*: the file of the innermost group that names one, and all overrides."""
    outer = source_of(ctx.parent) if ctx.parent else FileSource(os.environ.get("SCALEKIT_CONFIG", DEFAULT_FILE))
    file = ctx.params.get("positional") or ctx.params.get("file") or outer.file
    return FileSource(file, (*outer.overrides, *ctx.params.get("overrides", ())))


def source_from_argv(ctx: click.Context) -> FileSource:
    """Return the file and overrides in the arguments of the root command *ctx*, for any command."""
    source = source_of(ctx)
    arguments = list(ctx.meta.get(ARGV, ()))
    file, overrides = "", []
    for index, argument in enumerate(arguments):
        option, equals, value = argument.partition("=")
        if option.startswith("-c") and option.endswith(SUFFIX):
            option, equals, value = "-c", "=", option[2:]
        if not equals:
            value = "".join(arguments[index + 1 : index + 2])
        if option in ("-c", "--config"):
            file = value
        elif option == "--set":
            overrides.append(value)
    if not file and arguments and arguments[-1].endswith(SUFFIX) and Path(arguments[-1]).is_file():
        file = arguments[-1]
    if not file:
        return source if not overrides else replace(source, overrides=tuple(overrides))
    return FileSource(file, tuple(overrides))


class ConfigCommand(click.Command):
    """A command that takes the file after its own arguments, too."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse *args*; a file at their end is the value of ``--config``."""
        if args and _is_file_name(args[-1]) and not _is_value(self, args):
            args = ["--config", args[-1], *args[:-1]]
        return super().parse_args(ctx, args)


class ConfigGroup(click.Group):
    """A group of commands that read the file: each accepts ``-c FILE``, ``--set``, and FILE after its arguments."""

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        """Add *cmd* with the options that it lacks; the group reads their values."""
        _add_config_options(cmd)
        super().add_command(cmd, name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command and its arguments, without a trailing file."""
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None and rest and _is_file_name(rest[-1]) and not _is_value(command, rest):
            *rest, file = rest
            if not Path(file).is_file():
                raise click.UsageError(f"there is no file {file!r}; name an existing one")
        return name, command, rest


def _is_file_name(argument: str) -> bool:
    return argument.endswith(SUFFIX) and not argument.startswith("-")


def missing_config_options(taken: Iterable[str]) -> list[click.Parameter]:
    """Return the options of commands that read the file, except those whose names are *taken*."""
    options: list[click.Parameter] = [
        click.Option(FILE_OPTION, metavar="FILE", help=FILE_HELP, expose_value=False),
        click.Option(SET_OPTION, metavar="KEY=VALUE", help=SET_HELP, multiple=True, expose_value=False),
        click.Option(("--traceback",), is_flag=True, expose_value=False, help=TRACEBACK_HELP),
    ]
    return [each for each in options if set(taken).isdisjoint(each.opts)]


def _add_config_options(command: click.Command) -> None:
    command.params += missing_config_options([each for parameter in command.params for each in parameter.opts])
    for inner in command.commands.values() if isinstance(command, click.Group) else ():
        _add_config_options(inner)


def _is_value(command: click.Command, arguments: list[str]) -> bool:
    """Return whether the last of *arguments* is the value of an option of *command*."""
    before = arguments[-2] if len(arguments) > 1 else ""
    options = [each for each in command.params if isinstance(each, click.Option) and before in each.opts]
    return any(not each.is_flag for each in options)
