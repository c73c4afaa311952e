"""``scalekit cluster-cache slots`` and ``scalekit cluster-cache purge``."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import click

from scalekit import Context
from scalekit_caching.codec import ItemCodec
from scalekit_caching.purge_count import purge_and_count
from scalekit_caching.tags import name_tag
from scalekit_cluster_cache.config import ClusterCacheConfig, shown
from scalekit_cluster_cache.slot_report import Share, survey
from scalekit_redis import RedisUnavailable, ReplyError, redis_connections


def commands(context: Context, config: ClusterCacheConfig) -> list[click.Command]:
    """Return the commands of the plugin."""

    @click.command()
    @click.option("--hottest", default=5, show_default=True, type=click.IntRange(0, 100), help="Slots shown of each.")
    def slots(hottest: int) -> None:
        """Show the masters, their slots, their keys, and the slots that stand out."""
        _need_nodes(config)
        try:
            shares = asyncio.run(_survey(context, config, hottest))
        except (RedisUnavailable, ReplyError) as error:
            raise click.ClickException(f"the cluster cannot be read: {error}") from None
        for line in report(shares):
            click.echo(line)
        if any(share.trouble for share in shares):
            raise SystemExit(1)

    @click.command()
    @click.option("--tag", multiple=True, required=True, help="Purge what has this tag; may be repeated.")
    def purge(tag: tuple[str, ...]) -> None:
        """Forget the values that have a tag, in every process."""
        _need_nodes(config)
        try:
            said = asyncio.run(_purge(context, config, [name_tag(each) for each in tag]))
        except (RedisUnavailable, ReplyError) as error:
            raise click.ClickException(f"nothing was purged for certain: {error}") from None
        click.echo(said)

    return [slots, purge]


def report(shares: list[Share]) -> Iterator[str]:
    """Yield the lines that show *shares*."""
    for share in shares:
        ranges = ",".join(f"{first}-{last}" if first != last else str(first) for first, last in share.ranges)
        replicas = ", ".join(map(shown, share.replicas)) or "none"
        yield f"{shown(share.host)}  {share.slots} slots ({ranges})  {share.keys} keys  replicas: {replicas}"
        if share.trouble:
            yield f"  does not answer: {share.trouble}"
        for slot, amount in share.hottest:
            yield f"  slot {slot}: {amount} {share.unit}"
    yield f"{len(shares)} masters  {sum(share.slots for share in shares)} of 16384 slots"


def _need_nodes(config: ClusterCacheConfig) -> None:
    if not config.nodes:
        raise click.ClickException(
            "there are no nodes: each process keeps values for itself, which no command reaches. "
            'Name a cluster, such as nodes = ["10.0.0.5:6379"]'
        )


async def _survey(context: Context, config: ClusterCacheConfig, hottest: int) -> list[Share]:
    connections = redis_connections(context)
    async with connections.open(config.url) as redis:
        return await survey(redis, config.nodes[0], lambda host: connections.open(config.url_of(host)), hottest)


async def _purge(context: Context, config: ClusterCacheConfig, tags: list[bytes]) -> str:
    from scalekit_cluster_cache.opening import open_cluster_store

    async with open_cluster_store(context, config) as frames:
        return await purge_and_count(frames, ItemCodec(), tags)
