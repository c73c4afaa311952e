"""FastAPI with fastapi-cache2 on Redis, which holds the response."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi_bare import BODY, PATH, PAYLOAD
from fastapi_cache import FastAPICache
from fastapi_cache.backends.redis import RedisBackend
from fastapi_cache.decorator import cache
from redis import asyncio as redis

__all__ = ["BODY", "PATH"]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    FastAPICache.init(RedisBackend(redis.from_url(os.environ["BENCH_REDIS"])), prefix="fastapi-cached")
    yield


@cache(expire=3600)
async def data() -> Any:
    return PAYLOAD


def make() -> FastAPI:
    app = FastAPI(lifespan=lifespan)
    app.get(PATH)(data)
    return app


app = make()
