"""Starlette under a cache in Redis, with the response in the process too."""

from scalekit import create_app
from scalekit.host import Host
from tests.bench.cases import starlette_bare
from tests.bench.cases.cache_redis_hit import BODY, CACHE, PATH

__all__ = ["BODY", "PATH"]


def make() -> Host:
    return create_app({"plugins": {"cache": CACHE | {"memory_size": "64MiB"}}}, app=starlette_bare.make())


app = make()
