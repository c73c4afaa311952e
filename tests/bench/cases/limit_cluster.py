"""Starlette with a limit in a Redis Cluster, which no client reaches."""

import os
from typing import Any

from scalekit import create_app
from scalekit.host import Host
from tests.bench.cases import starlette_bare

PATH = starlette_bare.PATH
BODY = starlette_bare.BODY
URL = os.environ.get("BENCH_CLUSTER", "memory:")
TABLES: dict[str, Any] = {"plugins": {"ratelimit": {"url": URL, "default": "1000000/s", "store_timeout": "5s"}}}


def make() -> Host:
    return create_app(TABLES, app=starlette_bare.make())


app = make()
