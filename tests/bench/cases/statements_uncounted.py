"""Twenty statements on SQLite in each request, which are not counted."""

import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from scalekit import create_app
from scalekit.contracts import DATABASE
from scalekit.host import Host

PATH = "/items"
BODY = b"first"
FOLDER = tempfile.TemporaryDirectory()
FILE = Path(FOLDER.name) / "bench.db"
QUERIES = ("SELECT name FROM items WHERE id = :id", "SELECT name FROM items WHERE id = :id ORDER BY name")
TIMES = 10
"""As often as a query budget allows by default."""
STATEMENTS = TIMES * len(QUERIES)


async def items(request: Request) -> PlainTextResponse:
    database = DATABASE(request)
    name = ""
    for _ in range(TIMES):
        for query in QUERIES:
            name = await database.fetch_val(query, {"id": 1})
    return PlainTextResponse(name)


def make(**budget: object) -> Host:
    with closing(sqlite3.connect(FILE)) as database, database:
        database.executescript(
            "CREATE TABLE items (id INTEGER PRIMARY KEY, name); INSERT INTO items VALUES (1, 'first')"
        )
    pool = {"url": f"sqlite:///{FILE}", "query_budget": budget or {"repeat": 0}}
    return create_app({"plugins": {"pool": pool}}, app=Starlette(routes=[Route(PATH, items)]))
