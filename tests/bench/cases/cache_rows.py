"""A response from a table, under a cache that misses each time and stores each response."""

import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from scalekit import create_app
from scalekit.contracts import DATABASE
from tests.bench.cases.cache_none import Asking

PATH = "/item"
BODY = b"first"
FOLDER = tempfile.TemporaryDirectory()
FILE = Path(FOLDER.name) / "bench.db"


async def item(request: Request) -> PlainTextResponse:
    return PlainTextResponse(await DATABASE(request).fetch_val("SELECT name FROM items WHERE id = 1"))


def make(**cache: Any) -> Asking:
    with closing(sqlite3.connect(FILE)) as database, database:
        database.executescript(
            "CREATE TABLE items (id INTEGER PRIMARY KEY, name); INSERT INTO items VALUES (1, 'first')"
        )
    policies = [{"path": PATH, "ttl": "1d"}]
    plugins = {"pool": {"url": f"sqlite:///{FILE}"}, "cache": {"policies": policies, **cache}}
    return Asking(create_app({"plugins": plugins}, app=Starlette(routes=[Route(PATH, item)])))
