"""Workers start, crash, hang, are replaced, and stop."""

from __future__ import annotations

import os
import signal
import time
from functools import partial
from http.client import RemoteDisconnected
from pathlib import Path

import pytest

from tests.processes import alive, family, wait_for
from tests.service import APPLICATION, Service
from tests.workers import (
    IMPORTED,
    PRELOAD,
    SENDS_ITS_PID,
    Starting,
    counting,
    pids_in,
    serving_pids,
    stop,
    supervised,
    wait_for_new_workers,
    workers_of,
)

ALLOCATES = """
kept = []
async def app(scope, receive, send):
    if scope["type"] == "http":
        if scope["path"] == "/allocate":
            kept.append(bytearray(b"x" * 100_000_000))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})
"""
BLOCKS = """
import time
async def app(scope, receive, send):
    if scope["type"] == "http":
        if scope["path"] == "/block":
            time.sleep(600)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})
"""


SLOW_LIFESPAN = """
import time
async def app(scope, receive, send):
    if scope["type"] == "lifespan" and "SLOW_START" in globals():
        await receive()
        time.sleep(2.5)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
    else:
        await served(scope, receive, send)
""" + APPLICATION.replace("async def app(", "async def served(")


def workers_are_not(service: Service, pids: list[int]) -> bool:
    return workers_of(service) != pids


def test_the_supervisor_starts_the_configured_number_of_workers() -> None:
    with supervised(3) as service:
        assert len(workers_of(service)) == 3
        assert serving_pids(service, 3) == set(workers_of(service))
        assert f"serving service:app with no plugins by 3 workers on {service.url}" in service.log()
        assert stop(service) == 0
        assert service.log().count("stopped; all requests completed") == 3


def test_a_killed_worker_is_replaced_and_the_others_keep_serving() -> None:
    with supervised(2) as service:
        killed, other = workers_of(service)
        os.kill(killed, signal.SIGKILL)
        service.wait_for_log(f"(pid {killed}): it was killed by SIGKILL; a new worker starts now")
        wait_for("a replacement", lambda: len(workers_of(service)) == 2)
        assert other in workers_of(service)
        assert len(serving_pids(service, 2) - {killed}) == 2


def test_a_worker_that_crashes_repeatedly_is_restarted_with_backoff() -> None:
    with supervised(1) as service:
        for _ in range(3):
            (worker,) = serving_pids(service, 1)
            os.kill(worker, signal.SIGKILL)
            wait_for("its end", partial(workers_are_not, service, [worker]))
        service.wait_for_log("a new worker starts in 0.5s")
        service.wait_for_log("a new worker starts in 1s")
        wait_for("a response", lambda: service.get("/"))


def test_a_worker_with_a_blocked_event_loop_is_replaced_and_its_stacks_are_logged() -> None:
    with supervised(1, 'hang_timeout = "2s"', BLOCKS) as service:
        (blocked,) = workers_of(service)
        with pytest.raises(RemoteDisconnected):
            service.get("/block")
        assert wait_for_new_workers(service, [blocked], 1)
        assert "sent no heartbeat for 2s: its event loop is blocked" in service.log()
        service.wait_for_log("exited; its stacks were")
        assert "service.py" in service.log()
        wait_for("a response", lambda: service.get("/") == "done")


@pytest.mark.parametrize("slow", ["import time; time.sleep(2.5)", "SLOW_START = True"])
@pytest.mark.parametrize("preload", PRELOAD)
def test_a_slow_start_does_not_count_as_a_hang(slow: str, preload: str) -> None:
    with supervised(2, f'hang_timeout = "2s"\n{preload}', source=f"{slow}\n{SLOW_LIFESPAN}") as service:
        assert len(workers_of(service)) == 2
        assert "sent no heartbeat" not in service.log()
        assert stop(service) == 0


@pytest.mark.parametrize(
    "source", [f"import time; time.sleep(600)\n{APPLICATION}", counting("time.sleep(600)")], ids=["import", "start"]
)
@pytest.mark.parametrize("preload", PRELOAD)
def test_a_worker_over_worker_start_timeout_is_killed(source: str, preload: str) -> None:
    toml = f'[server]\nworkers = 1\nworker_start_timeout = "3s"\n{preload}\n'
    with Starting(toml, {"service": source}) as service:
        assert service.wait() == 1
        log = service.log()
        assert "is not ready after 3s and is killed; raise server.worker_start_timeout if it needs longer" in log
        assert "exited; its stacks were" in log
        assert "service.py" in log


def test_a_worker_that_is_frozen_is_replaced() -> None:
    with supervised(2, 'hang_timeout = "2s"') as service:
        frozen, _ = workers_of(service)
        os.kill(frozen, signal.SIGSTOP)
        wait_for("its end", lambda: not alive(frozen))
        wait_for("a replacement", lambda: len(workers_of(service)) == 2)


def test_workers_are_not_aborted_after_the_supervisor_itself_was_stopped() -> None:
    with supervised(1, 'hang_timeout = "2s"') as service:
        before = workers_of(service)
        service.signal(signal.SIGSTOP)
        started = Path(f"/proc/{service.pid}/stat")
        wait_for("the stop", lambda: started.read_text().rpartition(")")[2].split()[0] == "T")
        end = time.monotonic() + 3.5
        wait_for("more than the time to hang", lambda: int(service.get("/")) == before[0] and time.monotonic() > end)
        service.signal(signal.SIGCONT)
        wait_for("the supervisor to look again", lambda: time.monotonic() > end + 2)
        assert workers_of(service) == before
        assert stop(service) == 0
        assert "sent no heartbeat" not in service.log()


@pytest.mark.parametrize("preload", PRELOAD)
def test_a_failed_start_is_logged_once_and_stops_the_service(preload: str) -> None:
    source = IMPORTED + 'raise RuntimeError("no licence")\n'
    with Starting(f"[server]\nworkers = 4\n{preload}\n", {"service": source}) as service:
        assert service.wait() == 78
        assert len(pids_in(service, "imports")) == 1
        assert service.log().count("no licence") == 1
        assert service.log().count("did not start") == 1


@pytest.mark.parametrize("preload", PRELOAD)
def test_a_failed_start_of_one_worker_stops_all(preload: str) -> None:
    source = counting("if number == 2: os._exit(5)")
    with Starting(f"[server]\nworkers = 3\n{preload}\n", {"service": source}) as service:
        assert service.wait() == 5
        assert service.log().count("did not start: it exited with status 5") == 1


def test_sighup_replaces_every_worker_with_a_ready_one() -> None:
    with supervised(2) as service:
        old = workers_of(service)
        service.signal(signal.SIGHUP)
        new = wait_for_new_workers(service, old, 2)
        service.wait_for_log("replaced every worker")
        assert serving_pids(service, 2) == set(new)


@pytest.mark.parametrize("preload", PRELOAD)
def test_new_workers_read_the_file_again(preload: str) -> None:
    with supervised(1, preload) as service:
        file = service.box.directory / "scalekit.toml"
        file.write_text(file.read_text() + '[health]\npath = "/well"\n')
        service.signal(signal.SIGHUP)
        service.wait_for_log("replaced every worker")
        assert service.get("/well/live") == '{"status":"alive"}'


@pytest.mark.parametrize("preload", PRELOAD)
def test_an_invalid_new_file_leaves_the_old_workers_serving(preload: str) -> None:
    with supervised(2, preload) as service:
        old = workers_of(service)
        (service.box.directory / "scalekit.toml").write_text("[server]\nworkerz = 2\n")
        service.signal(signal.SIGHUP)
        service.wait_for_log("server.workerz: unknown key; did you mean 'workers'?")
        service.wait_for_log("did not start: it exited with status 78; the old worker keeps serving")
        assert workers_of(service) == old
        assert serving_pids(service, 2) == set(old)


@pytest.mark.parametrize("preload", PRELOAD)
def test_the_service_stops_when_its_last_worker_cannot_be_replaced(preload: str) -> None:
    with supervised(1, preload, counting("if number: os._exit(5)")) as service:
        os.kill(workers_of(service)[0], signal.SIGKILL)
        assert service.wait() == 5
        assert "the service stops" in service.log()


@pytest.mark.parametrize("preload", PRELOAD)
def test_a_failed_replacement_is_retried_while_others_serve(preload: str) -> None:
    source = counting("if number == 2: os._exit(5)", SENDS_ITS_PID)
    with supervised(2, preload, source) as service:
        os.kill(workers_of(service)[0], signal.SIGKILL)
        wait_for("the third start and a fourth", lambda: len(pids_in(service, "starts")) == 4)
        wait_for("two workers", lambda: len(workers_of(service)) == 2)
        assert len(serving_pids(service, 2)) == 2
        assert "did not start: it exited with status 5; a new worker starts" in service.log()


@pytest.mark.parametrize("preload", PRELOAD)
def test_workers_drain_and_exit_when_their_supervisor_is_killed(preload: str) -> None:
    with supervised(2, preload) as service:
        processes = family(service.pid)
        service.signal(signal.SIGKILL)
        wait_for("the end of all", lambda: not any(map(alive, processes)))
        assert service.log().count("stopped; all requests completed") == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("preload", PRELOAD)
def test_a_signal_during_an_import_stops_the_service(number: signal.Signals, preload: str) -> None:
    waiting = IMPORTED + "while not pathlib.Path('go').exists(): time.sleep(0.05)\n" + APPLICATION
    with Starting(f"[server]\nworkers = 2\n{preload}\n", {"service": waiting}) as service:
        wait_for("the first import", lambda: pids_in(service, "imports"))
        assert stop(service, number) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_a_worker_starts_stops_the_service(number: signal.Signals) -> None:
    with Starting("[server]\nworkers = 2\n", {"service": counting("await asyncio.sleep(600)")}) as service:
        wait_for("the first start", lambda: pids_in(service, "starts"))
        assert stop(service, number) == 0


def test_a_worker_over_its_memory_limit_is_replaced_before_it_drains() -> None:
    limit = '[server.memory]\nlimit = "150MiB"\ncheck_interval = "100ms"\n'
    with supervised(1, limit, ALLOCATES) as service:
        (large,) = workers_of(service)
        assert service.get("/allocate") == "done"
        assert service.get("/allocate") == "done"
        (new,) = wait_for_new_workers(service, [large], 1)
        assert service.get("/") == "done"
        log = service.log()
        assert f"(pid {large}) uses" in log
        assert "more than server.memory.limit of 150MiB" in log
        assert new in workers_of(service)


def test_a_memory_limit_needs_workers_to_replace() -> None:
    with Starting('[server.memory]\nlimit = "1GiB"\n') as service:
        assert service.wait() == 78
        assert "add workers = 1 or more" in service.log()
