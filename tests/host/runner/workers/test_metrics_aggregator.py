"""Metrics of several workers are added up, including those of workers that have exited."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import orjson
import pytest

from scalekit.runner.workers.worker_control import HEARTBEAT_INTERVAL
from tests.host.telemetry.test_telemetry import EXPORTER
from tests.processes import alive, wait_for
from tests.workers import Supervised, supervised, wait_for_new_workers, workers_of

COUNTS = """
import os, time
from starlette.requests import Request
from scalekit.telemetry import TELEMETRY, Counter, Gauge
import orjson

RESPONSES = Counter("responses", "Responses.", ("kind",))
PROCESS = Gauge("process", "Its id.", multiprocess_mode="all")

async def app(scope, receive, send):
    if scope["type"] != "http":
        raise ValueError
    request = Request(scope)
    if scope["path"] == "/total":
        PROCESS(request).set(os.getpid())
        families = (await TELEMETRY(request).total()).families.items()
        body = orjson.dumps({name: [[*key, data] for key, data in each.data.items()] for name, each in families})
    else:
        RESPONSES(request, scope["path"]).inc()
        body = b"%d" % os.getpid()
        if scope["path"] == "/block":
            time.sleep(600)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})
"""
TOML = "[plugins.exporter]"


def counting(workers: int, more: str = "") -> Supervised:
    return supervised(workers, f"{more}\n{TOML}", COUNTS, exporter=EXPORTER)


def response_count(service: Supervised, kind: str = "/") -> int:
    counted = {row[0]: row[1] for row in total(service).get("responses", [])}
    return int(counted.get(kind, 0))


def total(service: Supervised) -> dict[str, list[list[Any]]]:
    families: dict[str, list[list[Any]]] = orjson.loads(service.get("/total"))
    return families


def test_every_response_of_every_worker_is_in_the_total_at_once() -> None:
    with counting(3) as service:
        pids = {service.get("/") for _ in range(60)}
        assert response_count(service) == 60
        assert len(pids) > 1 or len(workers_of(service)) == 3
        assert all(response_count(service) == 60 for _ in range(20))


def test_counters_of_a_worker_that_is_killed_after_a_scrape_are_retained() -> None:
    with counting(2) as service:
        for _ in range(50):
            service.get("/")
        assert response_count(service) == 50
        workers = workers_of(service)
        os.kill(workers[0], signal.SIGKILL)
        wait_for("its end", lambda: not alive(workers[0]))
        wait_for("a replacement", lambda: len(workers_of(service)) == 2)
        service.get("/")
        assert wait_for("the count", lambda: response_count(service) == 51)


def test_counters_of_the_last_heartbeat_are_retained_and_gauges_removed() -> None:
    with counting(1) as service:
        for _ in range(50):
            service.get("/")
        total(service)
        end = time.monotonic() + 2 * HEARTBEAT_INTERVAL
        wait_for("two heartbeats", lambda: time.monotonic() > end)
        (worker,) = workers_of(service)
        os.kill(worker, signal.SIGKILL)
        wait_for("its end", lambda: not alive(worker))
        assert wait_for("the count", lambda: response_count(service)) == 50
        assert total(service)["process"] == [["1", *workers_of(service)]]


def test_a_rolling_restart_preserves_all_counters() -> None:
    with counting(2) as service:
        for _ in range(50):
            service.get("/")
        old = workers_of(service)
        service.signal(signal.SIGHUP)
        wait_for_new_workers(service, old, 2)
        assert response_count(service) == 50


def test_per_worker_gauges_are_labelled_by_worker() -> None:
    with counting(2) as service:
        wait_for("both to be queried", lambda: len([x for x in total(service)["process"] if x[1]]) == 2)
        processes = {str(worker): pid for worker, pid in total(service)["process"]}
        assert set(processes) == {"1", "2"}
        assert set(processes.values()) == set(workers_of(service))


def test_the_last_snapshot_of_a_hanging_worker_is_used() -> None:
    with counting(2, 'hang_timeout = "60s"') as service:
        before = 40
        for _ in range(before):
            service.get("/")
        assert response_count(service) == before
        frozen = workers_of(service)[0]
        os.kill(frozen, signal.SIGSTOP)
        try:
            assert wait_for("a response of the other worker", lambda: response_count(service)) == before
        finally:
            os.kill(frozen, signal.SIGCONT)


def test_without_its_supervisor_a_worker_raises_timeout_error_and_keeps_serving() -> None:
    with counting(1) as service:
        service.signal(signal.SIGSTOP)
        try:
            with pytest.raises(OSError, match="500"):
                service.get("/total")
            assert service.get("/")
        finally:
            service.signal(signal.SIGCONT)
        assert wait_for("the count", lambda: response_count(service)) == 1
