"""``scalekit cache purge``."""

from __future__ import annotations

import asyncio

import click

from scalekit import Context
from scalekit_cache.codec import HttpCodec
from scalekit_cache.config import CacheConfig
from scalekit_caching.purge_count import purge_and_count
from scalekit_caching.tags import name_tag, path_tag
from scalekit_redis import RedisUnavailable, ReplyError


def commands(context: Context, config: CacheConfig) -> list[click.Command]:
    """Return the commands of the plugin, for the store of *config*."""

    @click.command()
    @click.option("--tag", multiple=True, help="Purge what has this tag; may be repeated.")
    @click.option("--path", multiple=True, help="Purge the responses of this path, or of those below it as /shop/**.")
    def purge(tag: tuple[str, ...], path: tuple[str, ...]) -> None:
        """Forget what is kept, in every process that shares the store."""
        if not config.shared:
            raise click.ClickException(
                f'the store is "{config.url}": each process has its own, which no command reaches. '
                "Call CACHE(request).purge(...) in the application, or restart it"
            )
        try:
            tags = [*map(name_tag, tag), *map(path_tag, path)]
        except ValueError as error:
            raise click.UsageError(str(error)) from None
        if not tags:
            raise click.UsageError("nothing to purge; name a --tag or a --path")
        try:
            said = asyncio.run(_purge(context, config, tags))
        except (RedisUnavailable, ReplyError) as error:
            raise click.ClickException(f"nothing was purged for certain: {error}") from None
        click.echo(said)

    return [purge]


async def _purge(context: Context, config: CacheConfig, tags: list[bytes]) -> str:
    from scalekit_cache.storage import open_shared_store

    if config.on_cluster_cache:
        async with context.started(), open_shared_store(context, config) as frames:
            return await purge_and_count(frames, HttpCodec(), tags)
    async with open_shared_store(context, config) as frames:  # nothing else has to be started for it
        return await purge_and_count(frames, HttpCodec(), tags)
