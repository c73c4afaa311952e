"""Starlette under a cache in Redis that holds the response, without room for it in the process."""

import os
from typing import Any

from scalekit import create_app
from scalekit.host import Host
from tests.bench.cases import starlette_bare

PATH = starlette_bare.PATH
BODY = starlette_bare.BODY
CACHE: dict[str, Any] = {
    "url": os.environ.get("BENCH_REDIS", "memory:"),
    "memory_size": "1KiB",
    "store_timeout": "5s",
    "policies": [{"path": PATH, "ttl": "1d", "early_refresh": 0.0}],
}


def make() -> Host:
    return create_app({"plugins": {"cache": CACHE}}, app=starlette_bare.make())


app = make()
