"""Values from replicas, purges from masters.

A replica may not have the last purge yet. Were it asked for the number of that, a value that was purged would come
back; so the number is asked of its master, and a value that a replica still has is known to be outdated.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from scalekit_caching.redis_store import RedisStore, frame_of


class ReplicaStore(RedisStore):
    """Items that are read wherever they are, numbers of purges where they are written."""

    async def get(self, keys: Sequence[bytes]) -> tuple[list[bytes | None], int]:
        """Return what is under each of *keys*, and the number of the last purge, all in one trip."""
        asked = [self._redis.get(self._items + key) for key in keys]
        frames = asyncio.gather(*asked, return_exceptions=True)  # on their way, while the number is asked for
        number = await self.number()
        return [frame_of(frame) for frame in await frames], number
