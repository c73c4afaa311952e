"""Starlette under a cache in the process that holds the response, compressed."""

from typing import Any

import brotli

from scalekit import create_app
from scalekit.host import Host
from tests.bench.cases import cache_hit, starlette_bare

PATH = cache_hit.PATH
BODY = brotli.compress(starlette_bare.BODY, quality=4)
HEADERS = [(b"accept-encoding", b"gzip, deflate, br, zstd")]
TABLES: dict[str, Any] = {"plugins": {**cache_hit.TABLES["plugins"], "compression": {"min_size": 1}}}


def make() -> Host:
    return create_app(TABLES, app=starlette_bare.make())


app = make()
