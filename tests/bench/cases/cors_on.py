"""Starlette under CORS for one origin; the request is of no page."""

from typing import Any

from scalekit import create_app
from scalekit.host import Host
from tests.bench.cases import starlette_bare

PATH = starlette_bare.PATH
BODY = starlette_bare.BODY
ORIGIN = "https://shop.example"
TABLES: dict[str, Any] = {"plugins": {"cors": {"origins": [ORIGIN], "credentials": True}}}


def make() -> Host:
    return create_app(TABLES, app=starlette_bare.make())


app = make()
