"""Workers are forked from a fork server that has imported everything, which can crash without effect on them."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from tests.processes import alive, family, parent_of, wait_for
from tests.service import APPLICATION
from tests.workers import (
    IMPORTED,
    SENDS_ITS_PID,
    Supervised,
    counting,
    parents_of_workers,
    pids_in,
    serving_pids,
    sockets_of,
    stop,
    supervised,
    wait_for_new_workers,
    workers_of,
)

EMBEDDED = """
[plugins.cache]
[plugins.discovery]
[plugins.jwt]
secret = "0123456789abcdef0123456789abcdef"
[plugins.logging]
[plugins.metrics]
[plugins.pool]
[plugins.queue]
[plugins.ratelimit]
[plugins.replica]
"""
RESPONDS_WITH = """
async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({{"type": "http.response.start", "status": 200, "headers": []}})
        await send({{"type": "http.response.body", "body": str({}).encode()}})
"""


def wait_for_new_parent(service: Supervised, old: int) -> int:
    return wait_for("a new parent", lambda: [pid for pid in parents_of_workers(service) if pid != old])[0]


def wait_for_end(pid: int) -> None:
    wait_for(f"the end of {pid}", lambda: not alive(pid))


def responses_of_all(service: Supervised) -> set[str]:
    """Return the responses of two workers, without their process ids."""
    responses: dict[str, str] = {}

    def enough() -> bool:
        pid, _, response = service.get("/").partition(" ")
        responses[pid] = response
        return len(responses) == 2

    wait_for("both responses", enough)
    return set(responses.values())


def test_the_fork_server_imports_once_and_forks_all_workers() -> None:
    with supervised(3, source=IMPORTED + SENDS_ITS_PID) as service:
        (parent,) = parents_of_workers(service)
        assert pids_in(service, "imports") == [parent]
        assert {parent_of(pid) for pid in workers_of(service)} == {parent}
        assert serving_pids(service, 3) == set(workers_of(service))
        os.kill(workers_of(service)[0], signal.SIGKILL)
        wait_for("a replacement", lambda: len(serving_pids(service, 3)) == 3)
        assert pids_in(service, "imports") == [parent]


def test_without_preload_each_worker_imports_for_itself() -> None:
    with supervised(2, "preload = false", IMPORTED + SENDS_ITS_PID) as service:
        assert parents_of_workers(service) == []
        assert sorted(pids_in(service, "imports")) == workers_of(service)


def test_workers_keep_serving_without_their_fork_server_and_another_one_replaces_it() -> None:
    with supervised(2) as service:
        workers = workers_of(service)
        (parent,) = parents_of_workers(service)
        os.kill(parent, signal.SIGKILL)
        service.wait_for_log(
            f"(pid {parent}): it was killed by SIGKILL; its workers keep serving, and a new one starts now"
        )
        new = wait_for_new_parent(service, parent)
        assert serving_pids(service, 2) == set(workers)
        os.kill(workers[0], signal.SIGKILL)
        wait_for("a replacement", lambda: workers_of(service))
        (replacement,) = workers_of(service)
        assert parent_of(replacement) == new
        assert serving_pids(service, 2) - {workers[0]} == {workers[1], replacement}
        assert stop(service) == 0
        assert not any(map(alive, [*workers, new, replacement]))


def test_a_service_survives_the_crash_of_its_only_worker_and_the_fork_server() -> None:
    with supervised(1) as service:
        lost = [*parents_of_workers(service), *workers_of(service)]
        for pid in lost:
            os.kill(pid, signal.SIGKILL)
        wait_for("a replacement", lambda: not set(serving_pids(service, 1)) & set(lost))
        assert stop(service) == 0


def test_a_hanging_fork_server_is_replaced_at_the_next_start_of_a_worker() -> None:
    with supervised(1) as service:
        (worker,) = workers_of(service)
        (parent,) = parents_of_workers(service)
        os.kill(parent, signal.SIGSTOP)
        os.kill(worker, signal.SIGKILL)
        wait_for_end(parent)
        new = wait_for_new_parent(service, parent)
        wait_for("a replacement", lambda: [pid for pid in workers_of(service) if parent_of(pid) == new])
        assert serving_pids(service, 1)
        assert stop(service) == 0


def test_a_hanging_fork_server_does_not_block_the_shutdown() -> None:
    with supervised(1) as service:
        (parent,) = parents_of_workers(service)
        os.kill(parent, signal.SIGSTOP)
        assert stop(service) == 0


def test_sighup_starts_a_new_fork_server_and_stops_the_old_one() -> None:
    with supervised(2, source=RESPONDS_WITH.format("1")) as service:
        (parent,) = parents_of_workers(service)
        old = workers_of(service)
        (service.box.directory / "service.py").write_text(RESPONDS_WITH.format("'new code'"))
        service.signal(signal.SIGHUP)
        new = wait_for_new_workers(service, old, 2)
        wait_for_end(parent)
        assert service.get("/") == "new code"
        assert {parent_of(pid) for pid in new} == set(parents_of_workers(service))
        assert stop(service) == 0


def test_a_crashed_worker_is_replaced_with_the_old_code_when_the_new_code_does_not_load() -> None:
    with supervised(1, source=RESPONDS_WITH.format("'good'")) as service:
        (parent,) = parents_of_workers(service)
        (old,) = workers_of(service)
        (service.box.directory / "service.py").write_text("raise RuntimeError('bad')\n")
        service.signal(signal.SIGHUP)
        service.wait_for_log("did not start: it exited with status 78; the old worker keeps serving")
        os.kill(old, signal.SIGKILL)
        wait_for_new_workers(service, [old], 1)
        wait_for("a response", lambda: service.get("/") == "good")
        assert parents_of_workers(service) == [parent]


def test_the_old_fork_server_stays_when_no_worker_of_the_new_one_starts() -> None:
    with supervised(1, source=RESPONDS_WITH.format("'good'")) as service:
        (parent,) = parents_of_workers(service)
        (old,) = workers_of(service)
        (service.box.directory / "service.py").write_text(counting("os._exit(5)"))
        service.signal(signal.SIGHUP)
        service.wait_for_log("did not start: it exited with status 5; the old worker keeps serving")
        wait_for("the end of the new parent", lambda: parents_of_workers(service) == [parent])
        os.kill(old, signal.SIGKILL)
        wait_for_new_workers(service, [old], 1)
        wait_for("a response", lambda: service.get("/") == "good")


def test_a_signal_to_every_process_of_a_service_drains_it() -> None:
    with supervised(2) as service:
        for pid in family(service.pid):
            os.kill(pid, signal.SIGTERM)
        assert service.wait() == 0
        assert service.log().count("stopped; all requests completed") == 2
        assert "ERROR" not in service.log()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_the_fork_server_alone_is_ignored(number: signal.Signals) -> None:
    with supervised(1) as service:
        (parent,) = parents_of_workers(service)
        (worker,) = workers_of(service)
        os.kill(parent, number)
        os.kill(worker, signal.SIGKILL)
        (replacement,) = wait_for_new_workers(service, [worker], 1)
        assert parent_of(replacement) == parent
        assert stop(service) == 0


def test_threads_started_by_an_import_disable_preload() -> None:
    thread = "import threading\nthreading.Thread(target=threading.Event().wait, name='feed', daemon=True).start()\n"
    with supervised(2, source=thread + IMPORTED + SENDS_ITS_PID) as service:
        service.wait_for_log("server.preload is off: importing started threads (feed), which do not survive a fork")
        wait_for("the end of the parent", lambda: not parents_of_workers(service))
        assert set(workers_of(service)) < set(pids_in(service, "imports"))
        assert len(pids_in(service, "imports")) == 3
        os.kill(workers_of(service)[0], signal.SIGKILL)
        wait_for("the import of a replacement", lambda: len(pids_in(service, "imports")) == 4)
        assert stop(service) == 0
        assert service.log().count("server.preload is off") == 1


@pytest.mark.parametrize(
    ("source", "expected_warning"),
    [
        ("import socket\nlistening = socket.create_server(('127.0.0.1', 0))\n", "a socket at 127.0.0.1:"),
        (
            "from socket import *\na = create_server(('127.0.0.1', 0))\nb = create_connection(a.getsockname())\n",
            "a socket to 127.0.0.1:",
        ),
        ("import asyncio\nloop = asyncio.new_event_loop()\n", "the selector of an event loop"),
        ("import sqlite3\ndb = sqlite3.connect('a.db')\ndb.execute('CREATE TABLE a (b)')\n", "/a.db for reading and"),
        ("import random\nlots = random.Random(1)\n", "the random number generator service.lots"),
    ],
    ids=["listener", "connection", "loop", "database", "generator"],
)
def test_imports_of_resources_that_workers_must_not_share_are_logged(source: str, expected_warning: str) -> None:
    with supervised(2, source=source + APPLICATION) as service:
        service.wait_for_log(expected_warning)
        warnings = [line for line in service.log().splitlines() if "WARNING" in line and expected_warning in line]
        assert len(warnings) == 1
        assert "create it in a lifespan, or set server.preload = false" in warnings[0]


def test_no_plugin_causes_a_warning_about_imports() -> None:
    with supervised(1, EMBEDDED) as service:
        assert len(parents_of_workers(service)) == 1
        assert "importing" not in service.log()


def test_random_numbers_differ_between_workers_and_fork_hooks_run_in_each() -> None:
    source = """
import os, random
random.seed(1)
forked = []
os.register_at_fork(after_in_child=lambda: forked.append(os.getpid()))
""" + RESPONDS_WITH.format("f'{os.getpid()} {random.random()} {forked == [os.getpid()]}'")
    with supervised(2, source=source) as service:
        responses = [response.split() for response in responses_of_all(service)]
        assert responses[0][0] != responses[1][0]
        assert [hooked for _, hooked in responses] == ["True", "True"]


def test_numpy_is_reseeded_in_each_worker_and_its_generators_are_logged() -> None:
    source = """
import os, sys, types
numpy_random, seeded = types.ModuleType("numpy.random"), []
numpy_random.Generator, numpy_random.RandomState = (type(name, (), {}) for name in ("Generator", "RandomState"))
numpy_random.seed = lambda: seeded.append(os.getpid())
sys.modules["numpy.random"] = numpy_random
lots = numpy_random.Generator()
""" + RESPONDS_WITH.format("seeded == [os.getpid()]")
    with supervised(2, source=source) as service:
        assert service.get("/") == "True"
        service.wait_for_log("importing created the random number generator service.lots")


def test_a_worker_imports_nothing_after_the_fork() -> None:
    source = """
import json, os, sys
os.register_at_fork(before=lambda: open("before", "w").write(json.dumps(sorted(sys.modules))))
""" + RESPONDS_WITH.format("' '.join(set(sys.modules) - set(json.load(open('before'))))")
    with supervised(1, EMBEDDED, source) as service:
        assert service.get("/") == ""


def test_exit_handlers_of_imported_modules_run_only_in_workers() -> None:
    exits = "import atexit\natexit.register(lambda: open('exits', 'a').write(f'{os.getpid()}\\n'))\n"
    with supervised(2, source=IMPORTED + exits + SENDS_ITS_PID) as service:
        workers = workers_of(service)
        assert stop(service) == 0
        assert sorted(pids_in(service, "exits")) == workers


def test_forked_workers_behave_like_started_ones() -> None:
    source = """
import gc, os, signal, sys
state = lambda: [os.getpgid(0) == os.getpid(), sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())), gc.get_threshold(),
                 gc.isenabled()]
""" + RESPONDS_WITH.format("f'{os.getpid()} {state()}'")
    default = "True, [], (700, 10, 10), True" if sys.version_info < (3, 12) else "True, []"
    with supervised(2, source=source) as service:
        (response,) = responses_of_all(service)
        assert default in response
        first, second = workers_of(service)
        assert sockets_of(first) == sockets_of(second)


@pytest.mark.parametrize(("freeze", "frozen"), [("true", True), ("false", False)])
def test_imported_objects_are_frozen_unless_gc_freeze_is_off(freeze: str, frozen: bool) -> None:
    source = "import gc\n" + RESPONDS_WITH.format("gc.get_freeze_count() > 0")
    with supervised(1, f"[server.memory]\ngc_freeze = {freeze}", source) as service:
        assert service.get("/") == str(frozen)


def test_gc_thresholds_of_the_application_are_preserved() -> None:
    source = "import gc\ngc.set_threshold(123, 4, 5)\n" + RESPONDS_WITH.format("gc.get_threshold()")
    with supervised(1, source=source) as service:
        assert service.get("/") == "(123, 4, 5)"


def test_workers_share_most_of_their_memory_with_the_fork_server() -> None:
    with supervised(2) as service:
        for pid in workers_of(service):
            assert shared_with_parent(pid) > 0.4


def shared_with_parent(pid: int) -> float:
    fields = Path(f"/proc/{pid}/smaps_rollup").read_text().split()
    return 1 - int(fields[fields.index("Private_Dirty:") + 1]) / int(fields[fields.index("Anonymous:") + 1])
