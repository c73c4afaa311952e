"""``scalekit discovery list`` and ``call``."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import click

from scalekit import Context, print_table
from scalekit.telemetry import TELEMETRY
from scalekit_discovery.config import DiscoveryConfig


def commands(context: Context) -> list[click.Command]:
    """Return the commands of the plugin; they query the source and register nothing."""
    config = context.config(DiscoveryConfig)

    @click.command("list")
    @click.argument("names", nargs=-1)
    def list_instances(names: Sequence[str]) -> None:
        """List the healthy instances of the services NAMES, by default of all known services."""
        rows, errors = asyncio.run(_list(context, config, names))
        if rows:
            print_table(["service", "instance", "address", "weight", "tags"], rows)
        for error in errors:
            click.echo(f"{error}; the list is from the cache", err=True)
        if not rows:
            raise click.ClickException("no healthy instance is known")

    @click.command()
    @click.argument("name")
    @click.argument("path")
    @click.option("-X", "--method", default="GET", help="The request method; by default GET.")
    @click.option("-d", "--data", help="The request body.")
    @click.pass_context
    def call(ctx: click.Context, name: str, path: str, method: str, data: str | None) -> None:
        """Call PATH of the service NAME and print the response body; exit status 1 for a status of 400 or more."""
        if not path.startswith("/"):
            raise click.BadParameter(f"expected a path that starts with /, got {path!r}", param_hint="PATH")
        status, body = asyncio.run(_call(context, name, path, method=method, data=data))
        click.echo(body, nl=not body.endswith(b"\n"))
        ctx.exit(1 if status >= 400 else 0)

    return [list_instances, call]


async def _list(context: Context, config: DiscoveryConfig, names: Sequence[str]) -> tuple[list[list[str]], list[str]]:
    from scalekit_discovery.factory import open_components

    async with open_components(config, context.get(TELEMETRY)) as components:
        directory = components.directory
        listed = [] if names else await directory.source.names()
        services = names or sorted({*filter(None, [config.service]), *listed})
        instances = await asyncio.gather(*(directory.instances(name) for name in services))
        rows = [
            [name, each.id, each.url, str(each.weight), ", ".join(each.tags)]
            for name, found in zip(services, instances, strict=True)
            for each in found
        ]
        return rows, directory.source_errors()


async def _call(context: Context, name: str, path: str, *, method: str, data: str | None) -> tuple[int, bytes]:
    from scalekit_discovery.factory import open_components

    async with (
        open_components(context.config(DiscoveryConfig), context.get(TELEMETRY)) as components,
        components.directory.client(name).request(method, path, data=data) as response,
    ):
        return response.status, await response.read()
