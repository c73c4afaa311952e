from __future__ import annotations

import logging
from typing import Any

import orjson
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from scalekit import create_app
from scalekit.contracts import LATEST_LOG_LINES
from scalekit.host import Host
from scalekit.testing import request, running

pytestmark = pytest.mark.anyio
MARKUP = "</script><img src=x onerror=alert(1)>\u202e\x00"


async def order(of: Request) -> PlainTextResponse:
    logging.getLogger("shop.orders").warning(
        "%s password=hunter2", MARKUP, extra={"api_key": "hunter2", "note": MARKUP}
    )
    return PlainTextResponse("")


async def fault(of: Request) -> PlainTextResponse:
    raise ValueError("wrong")


def shop(console: bool = True) -> Host:
    plugins: dict[str, Any] = {"logging": {"console": "off"}, **({"console": {}} if console else {})}
    tables = {"plugins": plugins, "server": {"operator_networks": ["127.0.0.1"]}}
    return create_app(tables, app=Starlette(routes=[Route("/order", order), Route("/fault", fault)]))


async def shown(app: Host, state: dict[str, Any], query: str, count: int) -> list[list[Any]]:
    """Return the rows of the page for *query*, once the writer thread has added *count*."""
    while True:
        page = orjson.loads((await request(app, f"/-/logs.json?{query}", state=state)).body)
        rows: list[list[Any]] = page["blocks"][-1]["rows"]
        if len(rows) >= count:
            return rows


async def test_the_page_filters_lines_and_links_to_the_request() -> None:
    app = shop()
    async with running(app) as state:
        await request(app, "/order", state=state, headers={"x-request-id": "r-1"})
        (row,) = await shown(app, state, "id=r-1&level=warning&logger=shop&text=PASSWORD", 1)
        access, _ = await shown(app, state, "id=r-1", 2)
        body = (await request(app, "/-/logs", state=state, headers={"accept": "text/html"})).body
    assert row[1:4] == ["1", {"type": "badge", "text": "warning", "tone": "warning"}, "shop.orders"]
    assert "hunter2" not in str(row)
    assert row[6] == {"type": "link", "text": "r-1", "page": "requests", "query": {"id": "r-1"}}
    assert access[3:5] == ["scalekit.access", "request"]
    assert b"<img" not in body
    assert b"hunter2" not in body


async def test_of_an_exception_the_last_line_is_shown() -> None:
    app = shop()
    async with running(app) as state:
        with pytest.raises(ValueError, match="wrong"):
            await request(app, "/fault", state=state)
        (row,) = await shown(app, state, "level=error", 1)
    assert row[5].endswith("exception=ValueError: wrong")


async def test_a_level_that_does_not_exist_is_reported() -> None:
    app = shop()
    async with running(app) as state:
        blocks = orjson.loads((await request(app, "/-/logs.json?level=loud", state=state)).body)["blocks"]
    assert blocks[1]["text"] == "There is no level 'loud'."


async def test_without_a_console_no_lines_are_kept() -> None:
    app = shop(console=False)
    async with running(app) as state:
        await request(app, "/order", state=state)
        assert not app.context.has(LATEST_LOG_LINES)
