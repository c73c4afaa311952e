"""``scalekit deploy KIND``: generate deployment files from the configuration file."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scalekit.cli.source import FileSource, config_options, file_argument
from scalekit.errors import PluginError, ScalekitError

if TYPE_CHECKING:
    from scalekit.deploy.kind import DeployKind

WORKERS = "Worker processes of each instance, instead of those of the file."
OUTPUT = "Folder to write to; without it a single file is printed."


class KindGroup(click.Group):
    """The installed kinds of deployments as commands."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the kinds."""
        from scalekit.deploy.kind import installed_kinds

        return list(installed_kinds())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of the kind *cmd_name*."""
        from scalekit.deploy.kind import installed_kinds, load_kind

        point = installed_kinds().get(cmd_name)
        if point is None:
            return None
        try:
            return _kind_command(cmd_name, load_kind(point))
        except PluginError as error:
            return _broken_command(cmd_name, error)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command and its arguments; the error for an unknown kind names the closest one."""
        from scalekit.config.name_suggestion import did_you_mean

        known = self.list_commands(ctx)
        if args[0] not in known and not args[0].startswith("-"):
            raise click.UsageError(f"there is no kind of deployment {args[0]!r}{did_you_mean(args[0], known)}", ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=KindGroup)
@config_options
def deploy(source: FileSource) -> None:
    """Generate the files of a deployment from FILE: containers, units, manifests, proxies.

    Environment variables that FILE references need not be set: generated files reference them too, and contain no
    secret.
    """


def _kind_command(name: str, kind: DeployKind) -> click.Command:
    @file_argument
    @click.option("-o", "--output", type=click.Path(file_okay=False, path_type=Path), help=OUTPUT)
    @click.option("--force", is_flag=True, help="Overwrite files that exist and differ.")
    @click.option("--workers", type=click.IntRange(1, 512), help=WORKERS)
    @config_options
    def command(source: FileSource, output: Path | None, force: bool, workers: int | None, **options: Any) -> None:
        files = _generate(name, kind, source, workers, options)
        if output is not None:
            _write(files, output, force)
        elif len(files) == 1:
            click.echo(next(iter(files.values())), nl=False)
        else:
            names = ", ".join(files)
            raise click.UsageError(f"{name} has {len(files)} files ({names}); name a folder for them: --output .")

    built: click.Command = click.command(name, help=kind.description)(command)
    built.params += kind.options
    return built


def _broken_command(name: str, error: PluginError) -> click.Command:
    """Return a command that raises *error*, so that the help can list it."""

    def fail() -> None:
        raise error

    return click.Command(name, callback=fail, help=str(error), context_settings={"ignore_unknown_options": True})


def _generate(
    name: str, kind: DeployKind, source: FileSource, workers: int | None, options: Mapping[str, Any]
) -> Mapping[str, str]:
    from scalekit.deploy.inspection import describe_service

    if not source.exists():
        source.settings()  # raises the error of a missing file
    overrides = [f"server.workers={workers}"] if workers is not None else []
    service = describe_service(_file_in_project(source.file), (*source.overrides, *overrides), _command_line(name))
    for key in service.literal_secrets:
        message = f'{key} is a secret in {service.file}; write "${{NAME}}", and set NAME where the service runs'
        click.echo(f"{click.style('warning', fg='yellow')}: {message}", err=True)
    return kind.generate(service, options)


def _file_in_project(file: str) -> str:
    """Return *file* relative to the current folder; raise ScalekitError when it is outside, and so is not deployed.

    It is raised too for a name with control characters.
    """
    path = os.path.relpath(file)
    if path.startswith(".."):
        raise ScalekitError(f"{file} is outside of the current folder; run the command in the folder of the project")
    if not path.isprintable():
        raise ScalekitError(f"the name of the file {path!r} has control characters, which no deployment has; rename it")
    return Path(path).as_posix()


def _command_line(name: str) -> str:
    """Return the command line without the options that do not change the content of files."""
    words = iter(sys.argv[1:])
    kept: list[str] = []
    for word in words:
        if word in ("-o", "--output"):
            next(words, None)
        elif word not in ("--force", "--traceback") and not word.startswith(("--output=", "-o")):
            kept.append(word)
    return shlex.join(["scalekit", *kept]).replace("\n", "\\n").replace("\r", "\\r")  # it is one line of a comment


def _write(files: Mapping[str, str], folder: Path, force: bool) -> None:
    """Write *files* below *folder*; raise ScalekitError before any is written when one exists with another text."""
    differing = [
        name for name, text in files.items() if (folder / name).exists() and not _has_text(folder / name, text)
    ]
    if differing and not force:
        names = ", ".join(str(folder / name) for name in differing)
        raise ScalekitError(f"{names} would be overwritten; add --force, or name another folder with --output")
    for name, text in files.items():
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise ScalekitError(f"cannot write {path}: {error.strerror}; name another folder with --output") from error
        click.echo(f"wrote {path}")


def _has_text(path: Path, text: str) -> bool:
    return path.is_file() and path.read_bytes() == text.encode()
