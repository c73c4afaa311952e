"""``scalekit run``: serve."""

from __future__ import annotations

import faulthandler
import logging
import sys
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import click

from scalekit.cli.source import FileSource, config_options, file_argument

if TYPE_CHECKING:
    from scalekit.settings import Settings

FORMAT = "%(asctime)s [%(process)d] %(levelname)-7s %(message)s"


@click.command()
@file_argument
@click.option(
    "--only",
    metavar="PLUGIN",
    multiple=True,
    help="Serve no requests; run this plugin, and those that it needs. Any number of times.",
)
@click.option("--worker", "place", hidden=True, help="How a supervisor starts its workers.")
@config_options
@click.pass_context
def run(ctx: click.Context, source: FileSource, only: tuple[str, ...], place: str | None) -> None:
    """Serve the application that FILE describes until SIGTERM or Ctrl-C; SIGHUP replaces every worker."""
    logging.basicConfig(level=logging.INFO, format=FORMAT, stream=sys.stderr)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    if only:
        source = replace(source, overrides=(*source.overrides, "server.role=worker"), only=only)
    ctx.exit(_run(source) if place is None else _work(source, place))


def _run(source: FileSource) -> int:
    settings = source.settings()
    if settings.server.workers is not None:
        return _supervise(source, settings)
    from scalekit.server.serve import serve

    return serve(source.host())


def _supervise(source: FileSource, settings: Settings) -> int:
    from scalekit.server.sockets import announce, announcement, listen
    from scalekit.workers.supervisor import supervise

    listeners = listen(settings.server)
    overrides = [part for override in source.overrides for part in ("--set", override)]
    only = [part for name in source.only for part in ("--only", name)]
    command = ["-m", "scalekit", "run", source.file, *overrides, *only, "--worker"]
    return supervise(settings.server, command, listeners, partial(announce, announcement(settings, listeners)))


def _work(source: FileSource, place: str) -> int:
    from scalekit.workers.worker import work

    faulthandler.enable()  # a worker that hangs is ended by SIGABRT, and shows where
    return work(source.host(), place)
