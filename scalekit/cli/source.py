"""Which file a command reads, and what overrides it."""

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
"""What the name of a file ends with that is taken for one behind the arguments of any command."""
FILE_OPTION = ("-c", "--config", "file")
FILE_HELP = f"The configuration; by default {DEFAULT_FILE}."
SET_OPTION = ("--set", "overrides")
SET_HELP = "Override a key, any number of times."
TRACEBACK_HELP = "Print where an error was raised, too."


@dataclass(frozen=True, slots=True)
class FileSource:
    """The file and the overrides that the command line names."""

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
        """Return the checked settings; raises ConfigError with every mistake."""
        from scalekit.settings import load

        settings = load(self.file, self.overrides, self.only)
        settings.raise_problems()
        return settings

    def host(self) -> Host:
        """Return the application built; raises ConfigError with every mistake."""
        from scalekit.app import create_app

        return create_app(self.file, overrides=self.overrides, only=self.only)

    def prepared_commands(self) -> dict[str, list[click.Command]]:
        """Return the commands of the plugins that the file turns on, by plugin."""
        from scalekit.app import prepare

        settings = self.settings()
        return settings.plugins.commands(prepare(settings).context)


TRACEBACK = "scalekit.traceback"
"""Under which a context keeps whether tracebacks are wanted."""
WORDS = "scalekit.words"
"""Under which a context keeps all words of the command line, for commands that are only known once a file is read."""


def config_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--config`` and ``--set``, and pass what they say as *source*."""

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
    """Let the file also stand alone, as in ``scalekit run shop.toml``; goes above :func:`config_options`."""
    return click.argument("positional", metavar="[FILE]", required=False)(function)


def source_of(ctx: click.Context) -> FileSource:
    """Return what the command of *ctx* reads: the innermost file named, and every override on the way."""
    outer = source_of(ctx.parent) if ctx.parent else FileSource(os.environ.get("SCALEKIT_CONFIG", DEFAULT_FILE))
    file = ctx.params.get("positional") or ctx.params.get("file") or outer.file
    return FileSource(file, (*outer.overrides, *ctx.params.get("overrides", ())))


def named_source(ctx: click.Context) -> FileSource:
    """Return what all words behind the root command *ctx* say of file and overrides, whatever the command is."""
    source = source_of(ctx)
    words = list(ctx.meta.get(WORDS, ()))
    file, overrides = "", []
    for place, word in enumerate(words):
        option, equals, value = word.partition("=")
        if option.startswith("-c") and option.endswith(SUFFIX):
            option, equals, value = "-c", "=", option[2:]
        if not equals:
            value = "".join(words[place + 1 : place + 2])
        if option in ("-c", "--config"):
            file = value
        elif option == "--set":
            overrides.append(value)
    if not file and words and words[-1].endswith(SUFFIX) and Path(words[-1]).is_file():
        file = words[-1]
    if not file:
        return source if not overrides else replace(source, overrides=tuple(overrides))
    return FileSource(file, tuple(overrides))


class ReadingGroup(click.Group):
    """A group of commands that read the file: each takes ``-c FILE``, ``--set``, and FILE behind its arguments."""

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        """Add *cmd*, and what it lacks of the options; the file has been read by the time that it is called."""
        _add_options(cmd)
        super().add_command(cmd, name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command and its arguments, without the file behind them."""
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None and rest and _is_file_name(rest[-1]) and not _is_value(command, rest):
            *rest, file = rest
            if not Path(file).is_file():
                raise click.UsageError(f"there is no file {file!r}; name one that exists")
        return name, command, rest


def _is_file_name(word: str) -> bool:
    return word.endswith(SUFFIX) and not word.startswith("-")


def reading_options(taken: Iterable[str]) -> list[click.Parameter]:
    """Return the options of commands that read the file, save those whose names are *taken*, for help and parsing."""
    options: list[click.Parameter] = [
        click.Option(FILE_OPTION, metavar="FILE", help=FILE_HELP, expose_value=False),
        click.Option(SET_OPTION, metavar="KEY=VALUE", help=SET_HELP, multiple=True, expose_value=False),
        click.Option(("--traceback",), is_flag=True, expose_value=False, help=TRACEBACK_HELP),
    ]
    return [each for each in options if set(taken).isdisjoint(each.opts)]


def _add_options(command: click.Command) -> None:
    command.params += reading_options([each for parameter in command.params for each in parameter.opts])
    for inner in command.commands.values() if isinstance(command, click.Group) else ():
        _add_options(inner)


def _is_value(command: click.Command, words: list[str]) -> bool:
    """Return whether the last of *words* is the value of an option of *command*, rather than an argument."""
    before = words[-2] if len(words) > 1 else ""
    options = [each for each in command.params if isinstance(each, click.Option) and before in each.opts]
    return any(not each.is_flag for each in options)
