"""Answers that are kept until a table changes: the cache, the pool and the replicas together."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.processes import wait_for
from tests.servers import Postgres, Redis
from tests.service import Service

APPLICATION = """\
import itertools

from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

from scalekit.contracts import DATABASE
from scalekit_cache import cached

calls = itertools.count(1)


@cached(ttl="1h")
async def show(request):
    rows = await DATABASE(request).fetch_all(f"SELECT n FROM {request.path_params['table']} ORDER BY n")
    return JSONResponse({"call": next(calls), "rows": [row.n for row in rows]})


async def ask(request):
    query, *how = (await request.json())
    database = DATABASE(request)
    if "fail" in how:
        try:
            async with database.transaction():
                await database.execute(query)
                raise KeyError
        except KeyError:
            return PlainTextResponse("")
    await database.execute(query)
    return PlainTextResponse("")


app = Starlette(routes=[Route("/show/{table}", show), Route("/ask", ask, methods=["POST"])])
"""
