"""Starlette with a pool on SQLite, which the handler does not use."""

import tempfile
from typing import Any

from scalekit import create_app
from scalekit.host import Host
from tests.bench.cases import starlette_bare

PATH = starlette_bare.PATH
BODY = starlette_bare.BODY
FILES = tempfile.TemporaryDirectory()
TABLES: dict[str, Any] = {"plugins": {"pool": {"url": f"sqlite:///{FILES.name}/bench.db"}}}


def make() -> Host:
    return create_app(TABLES, app=starlette_bare.make())


app = make()
