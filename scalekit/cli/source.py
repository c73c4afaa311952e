"""Which file a command reads, and what overrides it."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from scalekit.host import Host
    from scalekit.settings import Settings

DEFAULT_FILE = "scalekit.toml"


@dataclass(frozen=True, slots=True)
class FileSource:
    """The file and the overrides that the command line names."""

    file: str = DEFAULT_FILE
    overrides: tuple[str, ...] = ()
    only: tuple[str, ...] = ()

    def exists(self) -> bool:
        """Tell whether the file is there."""
        return Path(self.file).is_file()

    def settings(self) -> Settings:
        """Return the checked settings; raises ConfigError with every mistake."""
        from scalekit.settings import load

        settings = load(self.file, self.overrides, self.only)
        settings.refuse_mistakes()
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


def config_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--config`` and ``--set``, and pass what they say as *source*."""

    @click.option("-c", "--config", "file", metavar="FILE", help=f"The configuration; by default {DEFAULT_FILE}.")
    @click.option("--set", "overrides", metavar="KEY=VALUE", multiple=True, help="Override a key, any number of times.")
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
