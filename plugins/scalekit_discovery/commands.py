"""``scalekit discovery list`` and ``call``."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import click

from scalekit import Context, print_table
from scalekit.telemetry import TELEMETRY
from scalekit_discovery.config import DiscoveryConfig


def commands(context: Context) -> list[click.Command]:
    """Return the commands of the plugin. They ask the source themselves, and register nothing."""
    config = context.config(DiscoveryConfig)

    @click.command("list")
    @click.argument("names", nargs=-1)
    def listing(names: Sequence[str]) -> None:
        """List the healthy instances of NAMES; without any, of all services that are known by name."""
        rows, troubles = asyncio.run(_list(context, config, names))
        if rows:
            print_table(["service", "instance", "address", "weight", "tags"], rows)
        for trouble in troubles:
            click.echo(f"{trouble}; what is shown was kept", err=True)
        if not rows:
            raise click.ClickException("no healthy instance is known")

    @click.command()
    @click.argument("name")
    @click.argument("path")
    @click.option("-X", "--method", default="GET", help="The method; by default GET.")
    @click.option("-d", "--data", help="The body.")
    @click.pass_context
    def call(ctx: click.Context, name: str, path: str, method: str, data: str | None) -> None:
        """Call PATH of the service NAME and print the answer; status 1 from 400 up."""
        if not path.startswith("/"):
            raise click.BadParameter(f"a path begins with /, got {path!r}", param_hint="PATH")
        status, body = asyncio.run(_call(context, config, name, path, method, data))
        click.echo(body, nl=not body.endswith(b"\n"))
        ctx.exit(1 if status >= 400 else 0)

    return [listing, call]


async def _list(context: Context, config: DiscoveryConfig, names: Sequence[str]) -> tuple[list[list[str]], list[str]]:
    from scalekit_discovery.factory import open_components

    async with open_components(config, context.get(TELEMETRY)) as open_now:
        services = open_now.services
        everything = await open_now.consul.names() if open_now.consul and not names else []
        wanted = names or sorted({*config.services, *filter(None, [config.service]), *everything})
        found = await asyncio.gather(*(services.instances(name) for name in wanted))
        rows = [
            [name, each.id, each.url, str(each.weight), ", ".join(each.tags)]
            for name, instances in zip(wanted, found, strict=True)
            for each in instances
        ]
        return rows, services.troubles()


async def _call(
    context: Context, config: DiscoveryConfig, name: str, path: str, method: str, data: str | None
) -> tuple[int, bytes]:
    from scalekit_discovery.factory import open_components

    async with (
        open_components(config, context.get(TELEMETRY)) as open_now,
        open_now.services.client(name).request(method, path, data=data) as answer,
    ):
        return answer.status, await answer.read()
