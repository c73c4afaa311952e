"""What several workers count adds up, whoever is asked, and whoever has ended on the way."""

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

RESPONSES = Counter("answers", "Answers.", ("kind",))
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


def answers(service: Supervised, kind: str = "/") -> int:
    counted = {row[0]: row[1] for row in total(service).get("answers", [])}
    return int(counted.get(kind, 0))


def total(service: Supervised) -> dict[str, list[list[Any]]]:
    families: dict[str, list[list[Any]]] = orjson.loads(service.get("/total"))
    return families


def test_every_answer_of_every_worker_is_in_the_total_at_once() -> None:
    with counting(3) as service:
        pids = {service.get("/") for _ in range(60)}
        assert answers(service) == 60
        assert len(pids) > 1 or len(workers_of(service)) == 3
        assert all(answers(service) == 60 for _ in range(20))


def test_what_a_worker_counted_stays_when_it_is_killed_after_it_was_asked() -> None:
    with counting(2) as service:
        for _ in range(50):
            service.get("/")
        assert answers(service) == 50
        workers = workers_of(service)
        os.kill(workers[0], signal.SIGKILL)
        wait_for("its end", lambda: not alive(workers[0]))
        wait_for("a replacement", lambda: len(workers_of(service)) == 2)
        service.get("/")
        assert wait_for("the count", lambda: answers(service) == 51)


def test_what_a_worker_said_by_itself_before_it_was_killed_is_counted_and_its_gauges_go() -> None:
    with counting(1) as service:
        for _ in range(50):
            service.get("/")
        total(service)
        told = time.monotonic() + 2 * HEARTBEAT_INTERVAL
        wait_for("two heartbeats", lambda: time.monotonic() > told)
        (worker,) = workers_of(service)
        os.kill(worker, signal.SIGKILL)
        wait_for("its end", lambda: not alive(worker))
        assert wait_for("the count", lambda: answers(service)) == 50
        assert total(service)["process"] == [["1", *workers_of(service)]]


def test_a_rolling_restart_loses_no_count() -> None:
    with counting(2) as service:
        for _ in range(50):
            service.get("/")
        old = workers_of(service)
        service.signal(signal.SIGHUP)
        wait_for_new_workers(service, old, 2)
        assert answers(service) == 50


def test_the_numbers_of_each_worker_stand_under_its_own_label() -> None:
    with counting(2) as service:
        wait_for("both to have been asked", lambda: len([x for x in total(service)["process"] if x[1]]) == 2)
        processes = {str(worker): pid for worker, pid in total(service)["process"]}
        assert set(processes) == {"1", "2"}
        assert set(processes.values()) == set(workers_of(service))


def test_a_worker_that_hangs_counts_with_what_it_said_last() -> None:
    with counting(2, 'hang = "60s"') as service:
        before = 40
        for _ in range(before):
            service.get("/")
        assert answers(service) == before
        frozen = workers_of(service)[0]
        os.kill(frozen, signal.SIGSTOP)
        try:
            assert wait_for("an answer of the other", lambda: answers(service)) == before
        finally:
            os.kill(frozen, signal.SIGCONT)


def test_without_its_supervisor_a_worker_says_that_it_cannot_tell_and_goes_on() -> None:
    with counting(1) as service:
        service.signal(signal.SIGSTOP)
        try:
            with pytest.raises(OSError, match="500"):
                service.get("/total")
            assert service.get("/")
        finally:
            service.signal(signal.SIGCONT)
        assert wait_for("the count", lambda: answers(service)) == 1
