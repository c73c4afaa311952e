"""The same with the console, at which nobody looks."""

from typing import Any

from scalekit import create_app
from scalekit.host import Host
from tests.bench.cases import starlette_bare

PATH = starlette_bare.PATH
BODY = starlette_bare.BODY
TABLES: dict[str, Any] = {"server": {"operator_networks": ["127.0.0.1"]}, "plugins": {"console": {}}}


def make() -> Host:
    return create_app(TABLES, app=starlette_bare.make())


app = make()
