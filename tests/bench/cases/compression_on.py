"""Starlette under compression that a small response does not need."""

from typing import Any

from scalekit import create_app
from scalekit.host import Host
from tests.bench.cases import starlette_bare

PATH = starlette_bare.PATH
BODY = starlette_bare.BODY
HEADERS = [(b"accept-encoding", b"gzip, deflate, br, zstd")]
TABLES: dict[str, Any] = {"plugins": {"compression": {}}}


def make() -> Host:
    return create_app(TABLES, app=starlette_bare.make())


app = make()
