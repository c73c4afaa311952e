"""Starlette under a cache that misses each time and stores each response."""

from typing import Any

from scalekit import create_app
from tests.bench.cases import starlette_bare
from tests.bench.cases.cache_none import Asking

PATH = starlette_bare.PATH
BODY = starlette_bare.BODY
TABLES: dict[str, Any] = {"plugins": {"cache": {"policies": [{"path": PATH, "ttl": "1d"}]}}}


def make() -> Asking:
    return Asking(create_app(TABLES, app=starlette_bare.make()))


app = make()
