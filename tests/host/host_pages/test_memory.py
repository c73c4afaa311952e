from __future__ import annotations

import gc
import os

import orjson
import pytest

from scalekit.config.tables import Memory
from scalekit.config.types import SizeOrShare
from scalekit.host_pages.memory import memory_page
from scalekit.pages import Facts, PageView
from scalekit.runner.memory.history import MemoryHistory
from tests.console.clients import console_app
from tests.host.host_pages.page_json import blocks_of, rows

pytestmark = pytest.mark.anyio


class Leaked:
    """An object of which a test keeps many."""


async def test_the_page_has_usage_and_what_grows_since_the_last_look() -> None:
    async with console_app({}) as browser:
        first = await blocks_of(browser, "memory")
        kept = [Leaked() for _ in range(500_000)]
        second = await blocks_of(browser, "memory")
    (usage,) = rows(first, "Workers")
    assert usage["process id"] == str(os.getpid())
    assert 0 < usage["proportional (PSS)"] <= usage["resident (RSS)"]
    # The HTML of the page is the look before that of its JSON.
    name = f"{__name__}.Leaked"
    assert name not in {row["type"] for row in rows(second, "Growth by worker")}
    assert usage["objects"] + len(kept) <= rows(second, "Workers")[0]["objects"] + 100_000


async def test_growth_is_by_type_in_sum_and_by_worker() -> None:
    async with console_app({}) as browser:
        await browser.get("/-/memory.json")
        kept = [Leaked() for _ in range(50_000)]
        found = orjson.loads((await browser.get("/-/memory.json")).body)["blocks"]
        totals = rows(found, "Types that have grown since the last look")
    grown = {row["type"]: row for row in totals}[f"{__name__}.Leaked"]
    assert grown == {"type": f"{__name__}.Leaked", "more": len(kept), "objects": len(kept)}
    by_worker = [row for row in rows(found, "Growth by worker") if row["type"] == f"{__name__}.Leaked"]
    assert [(row["worker"], row["more"]) for row in by_worker] == [("1", len(kept))]


async def test_growth_since_the_first_look_outlives_later_looks() -> None:
    async with console_app({}) as browser:
        await browser.get("/-/memory.json")
        kept = [Leaked() for _ in range(50_000)]
        await browser.get("/-/memory.json")
        found = orjson.loads((await browser.get("/-/memory.json")).body)["blocks"]
    name = f"{__name__}.Leaked"
    start = "Types that have grown since the first look"
    (title,) = [each["title"] for each in found if each.get("title", "").startswith(start)]
    assert {row["type"]: row["more"] for row in rows(found, title)}[name] == len(kept)
    assert name not in {row["type"] for row in rows(found, "Types that have grown since the last look")}


async def test_programs_still_get_the_json_of_the_host() -> None:
    async with console_app({}) as browser:
        response = await browser.get("/-/memory", {"accept": "application/json"})
        page = await browser.get("/-/memory")
    assert orjson.loads(response.body)["workers"]["1"]["pid"] == os.getpid()
    assert b"<h2>Garbage collection</h2>" in page.body


async def test_garbage_is_collected_on_demand() -> None:
    async with console_app({}) as browser:
        gc.collect()
        gc.disable()
        try:
            cycle: list[object] = []
            cycle.append(cycle)
            del cycle
            response = await browser.post_json("/-/memory/collect", {})
        finally:
            gc.enable()
    (result,) = orjson.loads(response.body)["results"]
    assert int(result["message"].split()[1]) > 0


async def test_shares_are_those_of_the_limit_of_a_worker() -> None:
    class Queries:
        async def run(self, topic: bytes) -> bytes:
            raise NotImplementedError

    worker = {
        "pid": 1,
        "seconds_since_last_call": 2.5,
        "seconds_since_first_call": 3600.0,
        "history": [[200, 10], [300, 12]],
        "resident_bytes": 200,
        "proportional_bytes": 100,
        "objects": 3,
        "frozen_objects": 1,
        "collections": [{"collections": 1, "collected": 2, "uncollectable": 3}],
        "growing": [{"type": "a.B", "more": 2, "objects": 5}],
        "growing_since_first_call": [{"type": "a.C", "more": 7, "objects": 9}],
        "allocations": [{"line": "a.py:1", "bytes": 7, "blocks": 1}],
    }
    config = Memory(limit=SizeOrShare("1KiB"), tracemalloc=1)
    page = memory_page(Queries(), config, MemoryHistory())  # type: ignore[arg-type] # unused
    found = await page.render(PageView({"1": worker, "2": worker, "3": None}, {}))
    facts, _, usage, resident, blocks, growth, since_first, by_worker, allocations, collections = found
    assert [each.points for each in resident.series] == [[200, 300]] * 2  # type: ignore[union-attr] # a chart
    assert [each.points for each in blocks.series] == [[10, 12]] * 2  # type: ignore[union-attr] # a chart
    assert since_first.rows == [("a.C", 14, 18)]  # type: ignore[union-attr] # a table
    assert since_first.title.endswith("first look, 1h ago")  # type: ignore[union-attr] # a table
    assert isinstance(facts, Facts)
    assert (facts.facts["workers"], facts.facts["limit of a worker"]) == (200, 1024)
    assert [row[4] for row in usage.rows] == [100 / 1024] * 2  # type: ignore[union-attr] # a table
    assert growth.rows == [("a.B", 4, 10)]  # type: ignore[union-attr] # a table
    assert by_worker.rows[0] == ("1", 2.5, "a.B", 2, 5)  # type: ignore[union-attr] # a table
    assert allocations.rows[1] == ("2", "a.py:1", 7, 1)  # type: ignore[union-attr] # a table
    assert collections.rows[0] == ("1", 0, 1, 2, 3)  # type: ignore[union-attr] # a table
