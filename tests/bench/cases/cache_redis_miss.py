"""Starlette under a cache in Redis that misses each time and stores each response."""

from scalekit import create_app
from tests.bench.cases import starlette_bare
from tests.bench.cases.cache_none import Asking
from tests.bench.cases.cache_redis_hit import BODY, CACHE, PATH

__all__ = ["BODY", "PATH"]


def make() -> Asking:
    return Asking(create_app({"plugins": {"cache": CACHE}}, app=starlette_bare.make()))


app = make()
