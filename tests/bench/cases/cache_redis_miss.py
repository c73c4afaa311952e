"""The same under a cache in Redis that never has the answer, though it keeps each."""

from scalekit import create_app
from tests.bench.cases import starlette_bare
from tests.bench.cases.cache_none import Asking
from tests.bench.cases.cache_redis_hit import BODY, CACHE, PATH

__all__ = ["BODY", "PATH"]


def make() -> Asking:
    return Asking(create_app({"plugins": {"cache": CACHE}}, app=starlette_bare.make()))


app = make()
