"""``scalekit nginx config``: print or install nginx's configuration."""

from __future__ import annotations

import asyncio
import signal
from contextlib import aclosing
from pathlib import Path

import click

from scalekit import Context
from scalekit_nginx.config import NginxConfig


def commands(context: Context) -> list[click.Command]:
    """Return the commands of the plugin."""

    @click.command("config")
    @click.option("-o", "--output", metavar="PATH", help="Write to this file instead of standard output.")
    @click.option("--watch", is_flag=True, help="Write the file again whenever the instances change.")
    @click.option("--reload", "reloads", is_flag=True, help="Test the file with `nginx -t` first, then reload nginx.")
    def config(output: str | None, watch: bool, reloads: bool) -> None:
        """Write nginx's complete configuration with the current instances as upstreams."""
        if (watch or reloads) and output is None:
            raise click.UsageError("--watch and --reload need a file; add --output nginx.conf")
        asyncio.run(_run_until_signal(context, output, watch, reloads))

    return [config]


async def _run_until_signal(context: Context, output: str | None, watch: bool, reloads: bool) -> None:
    """Write the configuration; SIGINT and SIGTERM end the command with status 0."""
    task = asyncio.ensure_future(_write_all(context, output, watch, reloads))
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        pass


async def _write_all(context: Context, output: str | None, watch: bool, reloads: bool) -> None:
    from scalekit_nginx.debounce import debounced
    from scalekit_nginx.upstreams import addresses

    delay = context.config(NginxConfig).debounce
    async with aclosing(addresses(context)) as updates, aclosing(debounced(updates, delay)) as changes:
        async for instances in changes:
            await asyncio.to_thread(_write, context, instances, output, reloads)
            if not watch:
                return
    await asyncio.Event().wait()  # static upstreams never change, but --watch still runs until a signal


def _write(context: Context, instances: list[str], output: str | None, reloads: bool) -> None:
    from scalekit_nginx.installer import install, reload, write
    from scalekit_nginx.template import render

    config = context.config(NginxConfig)
    text = render(context.server, config, instances)
    if output is None:
        click.echo(text, nl=False)
        return
    file = Path(output)
    if not reloads:
        write(text, file)
        click.echo(f"{file}: {', '.join(instances)}", err=True)
        return
    install(text, file, config)
    outcome = "nginx reloaded" if reload(config) else "written; nginx is not running"
    click.echo(f"{file}: {', '.join(instances)}; {outcome}", err=True)
