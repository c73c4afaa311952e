"""The same with JSON lines, the access line among them, to files."""

import tempfile
from typing import Any

from scalekit import create_app
from scalekit.host import Host
from tests.bench.cases import starlette_bare

PATH = starlette_bare.PATH
BODY = starlette_bare.BODY
FOLDER = tempfile.TemporaryDirectory()
TABLES: dict[str, Any] = {"plugins": {"logging": {"directory": FOLDER.name, "console": "off"}}}


def make() -> Host:
    return create_app(TABLES, app=starlette_bare.make())


app = make()
