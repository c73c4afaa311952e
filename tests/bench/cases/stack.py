"""The stack of a public API: metrics, access log, rate limit, token and optionally a cache."""

import os
import tempfile
from typing import Any

from scalekit import create_app
from scalekit.host import Host
from tests.bench.cases import jwt_alone, starlette_bare

PATH = starlette_bare.PATH
BODY = starlette_bare.BODY
HEADERS = jwt_alone.HEADERS
REDIS = os.environ.get("BENCH_REDIS", "memory:")
LOGS = tempfile.TemporaryDirectory()
ROOMY = "64MiB"
NO_ROOM = "1KiB"
"""Sizes of the level in the process: with room for the response, and without."""


def serve(url: str, size: str = "", limit: str = "1000000/s") -> Host:
    """Return the stack on *url*, with a cache of *size* in the process unless it is None."""
    plugins: dict[str, Any] = {
        "metrics": {},
        "logging": {"directory": LOGS.name, "console": "off"},
        "ratelimit": {"url": url, "default": limit, "store_timeout": "5s"},
        **jwt_alone.TABLES["plugins"],
    }
    if size:
        policy = {"path": PATH, "ttl": "1d", "vary_by": "identity", "early_refresh": 0.0}
        plugins["cache"] = {"url": url, "memory_size": size, "policies": [policy]}
        plugins["cache"] |= {} if url == "memory:" else {"store_timeout": "5s"}
    return create_app({"plugins": plugins}, app=starlette_bare.make())
