"""``scalekit nginx``: a configuration for the proxy in front."""

from __future__ import annotations

import asyncio
import signal
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from scalekit.cli.source import FileSource, config_options, file_argument

if TYPE_CHECKING:
    from scalekit.settings import Settings


@click.command()
@file_argument
@config_options
@click.option("-o", "--output", metavar="PATH", help="Where to write it; by default it is printed.")
@click.option("--watch", is_flag=True, help="Write it again whenever the instances change.")
@click.option("--reload", "reloads", is_flag=True, help="Test it before it is written, and let nginx read it.")
def nginx(source: FileSource, output: str | None, watch: bool, reloads: bool) -> None:
    """Write nginx's complete configuration from FILE and the instances that are live."""
    if (watch or reloads) and output is None:
        raise click.UsageError("--watch and --reload need a file; add --output nginx.conf")
    asyncio.run(_until_told(source.settings(), output, watch, reloads))


async def _until_told(settings: Settings, output: str | None, watch: bool, reloads: bool) -> None:
    """Write until a signal ends it, which is no failure."""
    task = asyncio.ensure_future(_write(settings, output, watch, reloads))
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        pass


async def _write(settings: Settings, output: str | None, watch: bool, reloads: bool) -> None:
    from scalekit_nginx.debounce import settled
    from scalekit_nginx.upstreams import addresses

    async with aclosing(addresses(settings)) as changes, aclosing(settled(changes, settings.nginx.settle)) as real:
        async for instances in real:
            await asyncio.to_thread(_put, settings, instances, output, reloads)
            if not watch:
                return
    await asyncio.Event().wait()  # nothing more can change: whoever started this need not know


def _put(settings: Settings, instances: list[str], output: str | None, reloads: bool) -> None:
    from scalekit_nginx.installer import reload, write, write_tested
    from scalekit_nginx.template import configuration

    text = configuration(settings.server, settings.nginx, instances)
    if output is None:
        click.echo(text, nl=False)
        return
    file = Path(output)
    if not reloads:
        write(text, file)
        click.echo(f"{file}: {', '.join(instances)}", err=True)
        return
    write_tested(text, file, settings.nginx)
    told = "reloaded" if reload(settings.nginx) else "written; no nginx runs yet"
    click.echo(f"{file}: {', '.join(instances)}; {told}", err=True)
