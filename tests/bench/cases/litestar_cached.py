"""Litestar with its response cache on Redis, which holds the response."""

import os
from typing import Any

from litestar import Litestar, get
from litestar.config.response_cache import ResponseCacheConfig
from litestar.stores.redis import RedisStore
from litestar_bare import BODY, PATH, PAYLOAD

__all__ = ["BODY", "PATH"]


@get(PATH, cache=3600)
async def data() -> dict[str, Any]:
    return PAYLOAD


def make() -> Litestar:
    store = RedisStore.with_client(url=os.environ["BENCH_REDIS"], namespace="litestar-cached")
    return Litestar([data], stores={"response_cache": store}, response_cache_config=ResponseCacheConfig())


app = make()
