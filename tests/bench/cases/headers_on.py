"""Starlette under security headers."""

from scalekit import create_app
from scalekit.host import Host
from tests.bench.cases import starlette_bare

PATH = starlette_bare.PATH
BODY = starlette_bare.BODY


def make() -> Host:
    return create_app({"plugins": {"headers": {}}}, app=starlette_bare.make())


app = make()
