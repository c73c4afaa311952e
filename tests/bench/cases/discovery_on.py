"""Starlette with discovery, through which no service is called."""

from typing import Any

from scalekit import create_app
from scalekit.host import Host
from tests.bench.cases import starlette_bare

PATH = starlette_bare.PATH
BODY = starlette_bare.BODY
TABLES: dict[str, Any] = {"plugins": {"discovery": {"services": {"stock": ["http://127.0.0.1:9"]}, "cache_dir": ""}}}


def make() -> Host:
    return create_app(TABLES, app=starlette_bare.make())


app = make()
