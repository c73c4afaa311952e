"""Starlette with the queue in a file, to which nothing is published."""

import tempfile
from typing import Any

from scalekit import create_app
from scalekit.host import Host
from tests.bench.cases import starlette_bare

PATH = starlette_bare.PATH
BODY = starlette_bare.BODY
FILES = tempfile.TemporaryDirectory()
TABLES: dict[str, Any] = {"plugins": {"queue": {"url": f"sqlite:///{FILES.name}/queue.db"}}}


def make() -> Host:
    return create_app(TABLES, app=starlette_bare.make())


app = make()
