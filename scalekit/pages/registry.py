"""The pages of one application, their data of all workers, and their actions."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import orjson
from starlette.requests import Request
from starlette.responses import Response

from scalekit.context import Key
from scalekit.errors import PluginError
from scalekit.pages.blocks import Block
from scalekit.pages.page import ActionOutcome, ConsolePage, PageAction, PageGroup, PageView, Query

RENDER_TIMEOUT = 5.0
"""Seconds in which a page must be rendered, after its data have been collected."""


class Queries(Protocol):
    """Runs a topic in all workers: :class:`scalekit.runner.workers.worker_queries.WorkerQueries`."""

    def register(self, topic: bytes, handler: Callable[[bytes], Awaitable[bytes]]) -> None:
        """Run *handler* for queries on *topic* in this process."""
        ...

    async def run_in_all(self, topic: bytes, argument: bytes = b"") -> bytes:
        """Return a JSON object with the result of each worker by its number."""
        ...


@dataclass(frozen=True, slots=True)
class WorkerResult:
    """The result of an action in a worker: a sentence, or why it failed; *blocks* are shown below it."""

    worker: str
    message: str
    failed: bool = False
    blocks: Sequence[Block] = ()


class PageRegistry:
    """The pages by name, in the order of the navigation; *plugins* are the enabled ones."""

    def __init__(self, queries: Queries, plugins: Sequence[str]) -> None:
        self.plugins = tuple(plugins)
        self.pages: dict[str, ConsolePage] = {}
        self._queries = queries
        self._owners: dict[str, str] = {}

    def add(self, page: ConsolePage, owner: str) -> None:
        """Add *page* of the plugin *owner*; raises PluginError when another one has a page of this name."""
        if page.name in self.pages:
            raise PluginError(f"both {self._owners[page.name]!r} and {owner!r} have a page {page.name!r}")
        self._owners[page.name] = owner
        self.pages[page.name] = page
        if page.collect is not None:
            self._queries.register(_topic(page), partial(_collect, page))
        for action in page.actions:
            if action.runs_in == "all workers":
                self._queries.register(_topic(page, action), partial(_act, action))

    def __iter__(self) -> Iterator[ConsolePage]:
        groups = list(PageGroup)
        return iter(sorted(self.pages.values(), key=lambda page: (groups.index(page.group), page.title)))

    async def view(self, page: ConsolePage, query: Query) -> PageView:
        """Return the data of *page* for *query* of all workers; raises TimeoutError without a supervisor."""
        if page.collect is None:
            return PageView({}, query)
        results = await self._run_in_all(_topic(page), query)
        found = {worker: result["data"] for worker, result in results.items() if result is not None}
        return PageView(found, query, [worker for worker in results if worker not in found])

    async def render(self, page: ConsolePage, query: Query) -> tuple[PageView, Sequence[Block]]:
        """Return the view and the blocks of *page* for *query*; raises TimeoutError after RENDER_TIMEOUT."""
        view = await self.view(page, query)
        async with asyncio.timeout(RENDER_TIMEOUT):
            return view, await page.render(view)

    async def act(self, page: ConsolePage, action: PageAction, values: Mapping[str, str]) -> list[WorkerResult]:
        """Run *action* of *page* where it runs, and return the results by worker, empty for the one that responds.

        Raises TimeoutError when it takes too long.
        """
        if action.runs_in == "all workers":
            results = await self._run_in_all(_topic(page, action), values)
            return [_result(worker, result) for worker, result in results.items()]
        try:
            async with asyncio.timeout(RENDER_TIMEOUT):
                outcome = _outcome(await action.run(values))
        except ValueError as error:
            return [WorkerResult("", str(error), failed=True)]
        return [WorkerResult("", outcome.message, blocks=outcome.blocks)]

    async def _run_in_all(self, topic: bytes, argument: Mapping[str, str]) -> dict[str, Any]:
        found: dict[str, Any] = orjson.loads(await self._queries.run_in_all(topic, orjson.dumps(dict(argument))))
        return dict(sorted(found["workers"].items(), key=lambda each: (len(each[0]), each[0])))


CONSOLE_PAGES: Key[PageRegistry] = Key("console pages")
"""The pages of all plugins and of the host; without a plugin that shows pages there are none."""


class Console(Protocol):
    """Shows a page of the host to browsers, in place of its JSON."""

    async def respond(self, request: Request, name: str) -> Response:
        """Return the response with the page *name*."""
        ...


CONSOLE: Key[Console] = Key("console", plugin="console")
"""The plugin that shows pages."""


def _topic(page: ConsolePage, action: PageAction | None = None) -> bytes:
    return f"page/{page.name}{f'/{action.name}' if action else ''}".encode()


async def _collect(page: ConsolePage, argument: bytes) -> bytes:
    collect = page.collect
    return orjson.dumps({"data": None if collect is None else await collect(orjson.loads(argument))})


async def _act(action: PageAction, argument: bytes) -> bytes:
    try:
        return orjson.dumps({"message": _outcome(await action.run(orjson.loads(argument))).message})
    except ValueError as error:
        return orjson.dumps({"error": str(error)})


def _outcome(result: str | ActionOutcome) -> ActionOutcome:
    return ActionOutcome(result) if isinstance(result, str) else result


def _result(worker: str, result: Any) -> WorkerResult:
    if result is None:
        return WorkerResult(worker, "did not respond in time, or failed; see the log", failed=True)
    failed = "error" in result
    return WorkerResult(worker, str(result["error" if failed else "message"]), failed)
