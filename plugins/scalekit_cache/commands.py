"""``scalekit cache purge``."""

from __future__ import annotations

import asyncio

import click

from scalekit import Context
from scalekit_cache.codec import HttpCodec
from scalekit_cache.config import CacheConfig
from scalekit_cache.factory import open_shared_store
from scalekit_caching import name_tag, path_tag, purge_and_count
from scalekit_redis import RedisUnavailable, ReplyError


def commands(context: Context, config: CacheConfig) -> list[click.Command]:
    """Return the commands of the plugin, for the store of *config*."""

    @click.command()
    @click.option("--tag", multiple=True, help="Purge responses and values with this tag; may be repeated.")
    @click.option("--path", multiple=True, help="Purge responses of this path, or below it: /shop/**; may be repeated.")
    def purge(tag: tuple[str, ...], path: tuple[str, ...]) -> None:
        """Purge cached entries by tag or path in all processes sharing the store."""
        if not config.shared:
            raise click.ClickException(
                f'the store is "{config.url}": each process has its own, which a command cannot reach; '
                "call CACHE(request).purge(...) in the application, or restart it"
            )
        try:
            tags = [*map(name_tag, tag), *map(path_tag, path)]
        except ValueError as error:
            raise click.UsageError(str(error)) from None
        if not tags:
            raise click.UsageError("nothing to purge; specify --tag or --path")
        try:
            result = asyncio.run(_purge(context, config, tags))
        except (RedisUnavailable, ReplyError) as error:
            raise click.ClickException(f"the purge may have failed: {error}") from None
        click.echo(result)

    return [purge]


async def _purge(context: Context, config: CacheConfig, tags: list[bytes]) -> str:
    if config.on_cluster_cache:
        async with context.started(), open_shared_store(context, config) as store:
            return await purge_and_count(store, HttpCodec(), tags)
    async with open_shared_store(context, config) as store:  # needs no started plugin
        return await purge_and_count(store, HttpCodec(), tags)
