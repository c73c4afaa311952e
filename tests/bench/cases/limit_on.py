"""Starlette with a limit by address, in memory, which no client reaches."""

from typing import Any

from scalekit import create_app
from scalekit.host import Host
from tests.bench.cases import starlette_bare

PATH = starlette_bare.PATH
BODY = starlette_bare.BODY
TABLES: dict[str, Any] = {"plugins": {"ratelimit": {"default": "1000000/s"}}}


def make() -> Host:
    return create_app(TABLES, app=starlette_bare.make())


app = make()
