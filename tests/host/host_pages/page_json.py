"""The blocks of a page as clients see them."""

from __future__ import annotations

from typing import Any

import orjson

from tests.console.clients import Browser


async def blocks_of(browser: Browser, target: str) -> list[dict[str, Any]]:
    """Return the blocks of the page *target*, whose HTML must be complete too."""
    name, _, query = target.partition("?")
    html = await browser.get(f"/-/{name}?{query}")
    assert html.status == 200
    response = await browser.get(f"/-/{name}.json?{query}")
    assert response.status == 200
    return list(orjson.loads(response.body)["blocks"])


async def table(browser: Browser, target: str, title: str) -> list[dict[str, Any]]:
    """Return the rows of the table *title* of the page *target*, as cells by the title of their column."""
    return rows(await blocks_of(browser, target), title)


def rows(blocks: list[dict[str, Any]], title: str) -> list[dict[str, Any]]:
    """Return the rows of the table *title* of *blocks*, as cells by the title of their column."""
    (found,) = [block for block in blocks if block["type"] == "data_table" and block["title"] == title]
    titles = [column["title"] for column in found["columns"]]
    return [dict(zip(titles, row, strict=True)) for row in found["rows"]]
