"""Starlette with a limit and a cache that holds the response, both in one Redis."""

import os
from typing import Any

from scalekit import create_app
from scalekit.host import Host
from tests.bench.cases import starlette_bare
from tests.bench.cases.cache_redis_hit import CACHE

PATH = starlette_bare.PATH
BODY = starlette_bare.BODY
URL = os.environ.get("BENCH_REDIS", "memory:")
LIMIT = {"url": URL, "default": "1000000/s", "store_timeout": "5s"}
TABLES: dict[str, Any] = {"plugins": {"ratelimit": LIMIT, "cache": CACHE}}


def make() -> Host:
    return create_app(TABLES, app=starlette_bare.make())


app = make()
