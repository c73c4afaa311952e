from __future__ import annotations

from typing import Any

import pytest

from scalekit.errors import PluginError
from scalekit.pages import Block, ConsolePage, PageAction, PageGroup, PageRegistry, PageView, Text, WorkerResult
from scalekit.runner.workers.worker_queries import MAX_ARGUMENT, MAX_RESULT, WorkerQueries

pytestmark = pytest.mark.anyio


async def render(view: PageView) -> list[Block]:
    return [Text(f"{view.workers} {view.query} {view.missing}")]


def test_pages_are_ordered_by_group_and_title() -> None:
    registry = PageRegistry(WorkerQueries(), [])
    for name, group in (("b", PageGroup.PROCESS), ("z", PageGroup.SERVICE), ("a", PageGroup.PROCESS)):
        registry.add(ConsolePage(name, name.upper(), render, group=group), "host")
    assert [page.name for page in registry] == ["z", "a", "b"]


def test_two_pages_of_one_name_are_refused() -> None:
    registry = PageRegistry(WorkerQueries(), [])
    registry.add(ConsolePage("cache", "Cache", render), "cache")
    with pytest.raises(PluginError, match="both 'cache' and 'other' have a page 'cache'"):
        registry.add(ConsolePage("cache", "Cache", render), "other")


@pytest.mark.parametrize("name", ["", "a/b", "Cache", "..", "a.json", "x" * 41])
def test_names_are_segments_of_paths(name: str) -> None:
    with pytest.raises(ValueError, match="expected a name such as dead-letters"):
        ConsolePage(name, "Cache", render)


async def test_the_data_of_workers_are_those_for_the_query() -> None:
    async def collect(query: Any) -> Any:
        return {"asked": query["q"]}

    registry = PageRegistry(WorkerQueries(), [])
    page = ConsolePage("cache", "Cache", render, collect)
    registry.add(page, "cache")
    view, _ = await registry.render(page, {"q": "ä\0"})
    assert view == PageView({"1": {"asked": "ä\0"}}, {"q": "ä\0"}, [])


@pytest.mark.parametrize("answer", ["x" * MAX_RESULT, object(), RuntimeError("a fault")])
async def test_a_worker_without_data_is_missing(answer: object) -> None:
    async def collect(query: Any) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    registry = PageRegistry(WorkerQueries(), [])
    page = ConsolePage("cache", "Cache", render, collect)
    registry.add(page, "cache")
    assert await registry.view(page, {}) == PageView({}, {}, ["1"])


async def test_an_argument_is_bounded() -> None:
    with pytest.raises(ValueError, match="expected an argument of"):
        await WorkerQueries().run_in_all(b"page/cache", b"x" * (MAX_ARGUMENT + 1))


async def test_an_action_in_all_workers_reports_failures() -> None:
    async def act(values: Any) -> str:
        if values["tag"] == "fault":
            raise RuntimeError("a fault")
        if values["tag"] == "invalid":
            raise ValueError("fill in a tag")
        return f"purged {values['tag']}"

    registry = PageRegistry(WorkerQueries(), [])
    action = PageAction("purge", "Purge", act, runs_in="all workers")
    page = ConsolePage("cache", "Cache", render, actions=[action])
    registry.add(page, "cache")
    assert await registry.act(page, action, {"tag": "a"}) == [WorkerResult("1", "purged a")]
    assert await registry.act(page, action, {"tag": "invalid"}) == [WorkerResult("1", "fill in a tag", True)]
    (failed,) = await registry.act(page, action, {"tag": "fault"})
    assert failed.failed
