"""Trees that four workers print to one pipe at the same time."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

from tests.processes import wait_for
from tests.servers import ask
from tests.service import Service

SPANS = 500
"""Spans of a request: their tree is larger than a pipe."""
REQUESTS = 60
APPLICATION = f"""
import asyncio
import logging
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from scalekit.telemetry import span

async def item(request):
    item = request.path_params["item"]
    for number in range({SPANS}):
        with span(f"s{{item}}-{{number}}", password="s3cr3t", text="x" * 90):
            pass
        await asyncio.sleep(0)
    for _ in range(10):
        logging.getLogger("shop").info("item %d", item)
        await asyncio.sleep(0)
    return PlainTextResponse("")

app = Starlette(routes=[Route("/items/{{item:int}}", item)])
"""
TOML = """
[server]
workers = 4
drain_delay = "0s"
"""


class PipedService(Service):
    """``scalekit run --trace console``, which writes into a pipe."""

    def command(self) -> list[object]:
        command = " ".join(map(str, [*super().command(), "--trace", "console"]))
        return ["sh", "-c", f"{command} 2>&1 | dd bs=100 status=none of=printed.txt"]

    def printed(self) -> str:
        return (self.box.directory / "printed.txt").read_text()


def test_trees_of_workers_do_not_mix() -> None:
    with PipedService(TOML, {"service": APPLICATION}) as service, ThreadPoolExecutor(REQUESTS) as threads:
        list(threads.map(lambda number: ask(service.port, "GET", f"/items/{number}"), range(REQUESTS)))
        wait_for("all trees", lambda: service.printed().count(f"-{SPANS - 1} ") == REQUESTS)
        printed = service.printed()
    assert "s3cr3t" not in printed
    lines = [line for line in printed.splitlines() if "INFO" not in line]
    trees = "\n".join(lines).split("GET /items/")[1:]
    assert len(trees) == REQUESTS
    for tree in trees:
        item = tree.partition(" ")[0]
        assert re.findall(r"─ s(\d+)-(\d+) ", tree) == [(item, str(number)) for number in range(SPANS)]
        assert tree.count(f"text={'x' * 90}\n") + tree.endswith("x" * 90) == SPANS
        assert tree.count("password=***\n") == SPANS
