"""Starlette under a cache in a Redis Cluster that holds the response, without room for it in the process."""

import os

from scalekit import create_app
from scalekit.host import Host
from tests.bench.cases import starlette_bare
from tests.bench.cases.cache_redis_hit import BODY, CACHE, PATH

__all__ = ["BODY", "PATH"]


def make() -> Host:
    cache = CACHE | {"url": os.environ.get("BENCH_CLUSTER", "memory:")}
    return create_app({"plugins": {"cache": cache}}, app=starlette_bare.make())


app = make()
