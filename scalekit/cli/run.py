"""``scalekit run``: serve."""

from __future__ import annotations

import logging
import sys

import click

from scalekit.cli.source import FileSource, config_options, file_argument

FORMAT = "%(asctime)s %(levelname)-7s %(message)s"


@click.command()
@file_argument
@config_options
@click.pass_context
def run(ctx: click.Context, source: FileSource) -> None:
    """Serve the application that FILE describes until SIGTERM or Ctrl-C."""
    from scalekit.server import serve

    logging.basicConfig(level=logging.INFO, format=FORMAT, stream=sys.stderr)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    ctx.exit(serve(source.host()))
