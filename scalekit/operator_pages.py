"""The host's operator pages below ``/-/``: the index, memory, and log levels."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from scalekit.context import context_of
from scalekit.http.operator_access import PageAccess
from scalekit.http.problem import ProblemResponse
from scalekit.http.router import OPERATORS, ManagementRoute, is_for_operators, path_of
from scalekit.log_level.page import PATH as LOG_LEVEL
from scalekit.log_level.page import log_level
from scalekit.pages.registry import CONSOLE, CONSOLE_PAGES
from scalekit.runner.memory import heap_growth
from scalekit.runner.workers.worker_queries import WORKER_QUERIES
from scalekit.settings import Settings

INDEX = f"{OPERATORS}/"
MEMORY = f"{OPERATORS}/memory"

Content = Callable[[Request], Awaitable[bytes]]


def operator_pages(settings: Settings, by_plugin: Mapping[str, Sequence[BaseRoute]]) -> list[ManagementRoute]:
    """Return the pages, none unless the file names operators; the index also lists pages of *by_plugin*."""
    server = settings.server
    if not server.has_operators:
        return []
    access = PageAccess(server)
    theirs = [route for routes in by_plugin.values() for route in routes if _is_page(route)]
    health = settings.health.path
    paths = sorted({MEMORY, LOG_LEVEL, health, f"{health}/live", f"{health}/ready", *map(path_of, theirs)})

    async def index(request: Request) -> bytes:
        return orjson.dumps({"pages": paths}, option=orjson.OPT_INDENT_2)

    return [
        _page(INDEX, access, index, console_page="index"),
        _page(MEMORY, access, _memory, console_page="memory"),
        _page(LOG_LEVEL, access, log_level, methods=("GET", "POST"), console_page="log-level"),
    ]


def _is_page(route: BaseRoute) -> bool:
    """Return whether *route* is a page that the index links to."""
    is_page = isinstance(route, ManagementRoute) or is_for_operators(route)
    methods = getattr(route, "methods", None) or {"GET"}
    return is_page and "GET" in methods and "{" not in path_of(route)


async def _memory(request: Request) -> bytes:
    return await WORKER_QUERIES(request).run_in_all(heap_growth.TOPIC)


def _page(
    path: str,
    access: PageAccess,
    content: Content,
    *,
    methods: Sequence[str] = ("GET",),
    console_page: str = "",
) -> ManagementRoute:
    """Return the route of a JSON page; a browser gets *console_page* instead, where the console has it."""

    async def page(request: Request) -> Response:
        if console_page and request.method == "GET" and _shows_console(request, console_page):
            return await CONSOLE(request).respond(request, console_page)
        if not access.admits(request.scope):
            return ProblemResponse(403, access.refusal(request.scope))
        return Response(await content(request), 200, {"cache-control": "no-store"}, "application/json")

    return ManagementRoute(path, page, methods=methods)


def _shows_console(request: Request, name: str) -> bool:
    context = context_of(request.scope)
    if "text/html" not in request.headers.get("accept", "") or not context.has(CONSOLE):
        return False
    return name in context.get(CONSOLE_PAGES).pages
