"""Starlette under a cache in the process that holds the response."""

from typing import Any

from scalekit import create_app
from scalekit.host import Host
from tests.bench.cases import starlette_bare

PATH = starlette_bare.PATH
BODY = starlette_bare.BODY
TABLES: dict[str, Any] = {"plugins": {"cache": {"policies": [{"path": PATH, "ttl": "1d"}]}}}


def make() -> Host:
    return create_app(TABLES, app=starlette_bare.make())


app = make()
