"""The index: the service, its version, what is on, and links to all pages."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from scalekit import Context
from scalekit.pages import CONSOLE_PAGES, Block, Column, ConsolePage, DataTable, Facts, Link, PageGroup, PageView, Unit
from scalekit_console.config import ConsoleConfig
from scalekit_console.layout import INDEX

WORKERS = (Column("worker"), Column("pid"), Column("started", Unit.TIME), Column("uptime", Unit.SECONDS))
PAGES = (Column("page"), Column("shows"))


def index_page(context: Context, config: ConsoleConfig) -> ConsolePage:
    """Return the index of the application of *context*."""
    started = time.time()

    async def collect(query: Mapping[str, str]) -> dict[str, Any]:
        return {"pid": os.getpid(), "started": started, "uptime": time.time() - started}

    async def render(view: PageView) -> Sequence[Block]:
        return [_service(context, config, view), _links(context), _workers(view)]

    return ConsolePage(
        INDEX,
        "Index",
        render,
        collect,
        group=PageGroup.SERVICE,
        description="What is on, versions, workers, and links to all pages.",
    )


def _service(context: Context, config: ConsoleConfig, view: PageView) -> Facts:
    facts = {
        "service": context.name or None,
        "version": config.version or None,
        "commit": config.commit or None,
        "started": min((each["started"] for each in view.workers.values()), default=None),
        "workers": len(view.workers) + len(view.missing),
        "plugins": ", ".join(context.get(CONSOLE_PAGES).plugins),
        "ScaleKit": version("scalekit-asgi"),
        "Python": platform.python_version(),
    }
    return Facts(facts, "Service", {"started": Unit.TIME})


def _links(context: Context) -> DataTable:
    pages = [page for page in context.get(CONSOLE_PAGES) if page.name != INDEX]
    return DataTable(PAGES, [(Link(page.title, page.name), page.description) for page in pages], "Pages")


def _workers(view: PageView) -> DataTable:
    rows = [(worker, str(each["pid"]), each["started"], each["uptime"]) for worker, each in view.workers.items()]
    return DataTable(WORKERS, rows, "Workers")
