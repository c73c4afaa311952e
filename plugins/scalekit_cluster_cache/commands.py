"""``scalekit cluster-cache slots`` and ``scalekit cluster-cache purge``."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import click

from scalekit import Context
from scalekit_caching import ItemCodec, name_tag, purge_and_count
from scalekit_cluster_cache.cluster_store import open_cluster_store
from scalekit_cluster_cache.config import ClusterCacheConfig, host_port
from scalekit_cluster_cache.slot_report import MasterReport, query_masters
from scalekit_redis import RedisUnavailable, ReplyError, redis_connections


def commands(context: Context, config: ClusterCacheConfig) -> list[click.Command]:
    """Return the commands of the plugin."""

    @click.command()
    @click.option("--hottest", default=5, show_default=True, type=click.IntRange(0, 100), help="Hot slots per master.")
    def slots(hottest: int) -> None:
        """Show the masters with their slots, keys, replicas and hottest slots."""
        _require_nodes(config)
        try:
            masters = asyncio.run(_query(context, config, hottest))
        except (RedisUnavailable, ReplyError) as error:
            raise click.ClickException(f"the cluster is unavailable: {error}") from None
        for line in report(masters):
            click.echo(line)
        if any(master.error for master in masters):
            raise SystemExit(1)

    @click.command()
    @click.option("--tag", multiple=True, required=True, help="Purge values with this tag; may be repeated.")
    def purge(tag: tuple[str, ...]) -> None:
        """Purge the values with a tag in all processes."""
        _require_nodes(config)
        try:
            message = asyncio.run(_purge(context, config, [name_tag(each) for each in tag]))
        except (RedisUnavailable, ReplyError) as error:
            raise click.ClickException(f"the purge failed: {error}") from None
        click.echo(message)

    return [slots, purge]


def report(masters: list[MasterReport]) -> Iterator[str]:
    """Yield the lines of the report on *masters*."""
    for master in masters:
        ranges = ",".join(f"{first}-{last}" if first != last else str(first) for first, last in master.ranges)
        replicas = ", ".join(map(host_port, master.replicas)) or "none"
        slots = f"{master.slots} slots ({ranges})"
        yield f"{host_port(master.node)}  {slots}  {master.keys} keys  replicas: {replicas}"
        if master.error:
            yield f"  unavailable: {master.error}"
        for slot, amount in master.hottest:
            yield f"  slot {slot}: {amount} {master.unit}"
    yield f"{len(masters)} masters  {sum(master.slots for master in masters)} of 16384 slots"


def _require_nodes(config: ClusterCacheConfig) -> None:
    if not config.nodes:
        raise click.ClickException(
            "nodes is empty: the cache is in the memory of each process, which no command reaches. "
            'Name a cluster, such as nodes = ["10.0.0.5:6379"]'
        )


async def _query(context: Context, config: ClusterCacheConfig, hottest: int) -> list[MasterReport]:
    connections = redis_connections(context)
    async with connections.open(config.url) as redis:
        return await query_masters(redis, config.nodes[0], lambda node: connections.open(config.url_of(node)), hottest)


async def _purge(context: Context, config: ClusterCacheConfig, tags: list[bytes]) -> str:
    async with open_cluster_store(context, config) as store:
        return await purge_and_count(store, ItemCodec(), tags)
