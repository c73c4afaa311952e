"""Lines of several workers: each has its worker, and all of them are JSON."""

from __future__ import annotations

import json
import os
import signal
from typing import Any
from urllib.request import Request, urlopen

from tests.processes import wait_for
from tests.workers import Supervised, serving_pids, stop, wait_for_new_workers, workers_of

TOML = """
[server]
drain_delay = "100ms"
workers = 2
hang_timeout = "3s"
[plugins.logging]
"""
HANGS = """
import os
import time


async def app(scope, receive, send):
    if scope["type"] == "http":
        if scope["path"] == "/hang":
            time.sleep(600)
        body = b"%d" % os.getpid() if scope["path"] == "/" else b'{"status":"ready"}'
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})
"""

CONSOLE = """
[server]
workers = 4
drain_delay = "100ms"
operator_networks = ["127.0.0.1"]
[plugins.console]
[plugins.logging]
"""


def test_a_page_has_the_lines_of_all_workers_in_order_and_sets_the_level_in_all() -> None:
    with Supervised(CONSOLE, {"service": HANGS}) as service:
        serving_pids(service, 4)

        def rows(query: str = "") -> list[list[Any]]:
            found: list[list[Any]] = json.loads(service.get(f"/-/logs.json{query}"))["blocks"][-1]["rows"]
            return found

        wait_for("lines of all workers", lambda: {row[1] for row in rows("?logger=scalekit.access")} == set("1234"))
        times = [row[0] for row in rows()]
        assert times == sorted(times, reverse=True)
        change = Request(
            f"{service.url}/-/log-level/set", b'{"level": "error"}', {"content-type": "application/json"}, method="POST"
        )
        assert urlopen(change).status == 200
        urlopen(Request(service.url, headers={"x-request-id": "after"})).read()
        assert json.loads(service.get("/-/log-level"))["overrides"].keys() == {""}
        assert rows("?text=scalekit/log-level/set") == []
        assert rows("?id=after") == []
        assert stop(service) == 0


def test_each_line_has_its_worker_and_the_stacks_of_a_hung_worker_are_a_line() -> None:
    with Supervised(TOML, {"service": HANGS}) as service:
        pids = serving_pids(service, 2)
        assert pids == set(workers_of(service))
        hung = next(iter(pids))
        os.kill(hung, signal.SIGABRT)
        wait_for_new_workers(service, [hung], 2)
        serving_pids(service, 2)
        wait_for("its stacks", lambda: "exited; its stacks were" in service.log())
        assert stop(service) == 0
        lines = [json.loads(line) for line in service.log().splitlines() if line.startswith("{")]
        rest = [line for line in service.log().splitlines() if not line.startswith("{")]
    assert {line["pid"] for line in lines} & pids
    assert {line["worker"] for line in lines} == {1, 2}
    assert [line for line in lines if line["event"] == "request"]
    (stacks,) = [line for line in lines if "exited; its stacks were" in line["event"]]
    assert f"(pid {hung}) exited; its stacks were" in stacks["event"]
    assert "Fatal Python error: Aborted" in stacks["event"]
    assert not [line for line in rest if "Fatal Python error" in line or 'File "' in line]
