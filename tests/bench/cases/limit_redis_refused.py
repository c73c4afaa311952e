"""The same with a limit by address, in Redis, that everybody has reached."""

import os
from typing import Any

from scalekit import create_app
from scalekit.host import Host
from tests.bench.cases import starlette_bare
from tests.bench.worker import CLIENTS

PATH = starlette_bare.PATH
BODY = None
STATUS = 429
BEFORE = CLIENTS
URL = os.environ.get("BENCH_REDIS", "memory:")
POLICY = {"name": "refused", "limit": "1/d"}  # a name of its own: other cases count in the same Redis
TABLES: dict[str, Any] = {"plugins": {"ratelimit": {"url": URL, "policies": [POLICY], "store_timeout": "5s"}}}


def make() -> Host:
    return create_app(TABLES, app=starlette_bare.make())


app = make()
