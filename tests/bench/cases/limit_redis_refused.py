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
TABLES: dict[str, Any] = {"plugins": {"ratelimit": {"url": URL, "default": "1/d", "deadline": "5s"}}}


def make() -> Host:
    return create_app(TABLES, app=starlette_bare.make())


app = make()
