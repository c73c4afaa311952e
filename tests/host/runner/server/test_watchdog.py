"""The watchdog exits the process when threads or the event loop hang."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.processes import alive, family, wait_for
from tests.service import Service
from tests.workers import Supervised

EMBEDDED = """
[plugins.pool]
url = "sqlite:///service.db"
[plugins.queue]
url = "sqlite:///queue.db"
[plugins.logging]
"""
HANGING = """
import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.responses import PlainTextResponse
from starlette.routing import Route

EXECUTOR = ThreadPoolExecutor(9)


def hang():
    print("it hangs", flush=True)
    while True:
        time.sleep(600)


def in_thread_pool(request):
    hang()


async def in_default_executor(request):
    await asyncio.to_thread(hang)


async def in_own_executor(request):
    await asyncio.get_running_loop().run_in_executor(EXECUTOR, hang)


async def in_password_thread(request):
    from scalekit_jwt import password_hash
    await password_hash._in_thread(hang)


async def in_thread(request):
    threading.Thread(target=hang).start()
    await asyncio.sleep(600)


async def stubborn(request):
    print("it hangs", flush=True)
    while True:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            pass


async def in_loop(request):
    hang()


async def still_here(request):
    return PlainTextResponse("still here")


KINDS = [in_thread_pool, in_default_executor, in_own_executor, in_password_thread, in_thread, stubborn, in_loop]
app = Starlette(routes=[Route("/", still_here), *(Route("/" + kind.__name__, kind) for kind in KINDS)])
"""
THREADS = ["in_thread_pool", "in_default_executor", "in_own_executor", "in_password_thread", "in_thread"]
CUT_SOON = '[server]\ndrain_delay = "0s"\ngraceful_timeout = "100ms"\nstop_timeout = "1s"\n'
PATIENT = '[server]\ndrain_delay = "10m"\ngraceful_timeout = "10m"\nstop_timeout = "10m"\n'


def hang(service: Service, pool: ThreadPoolExecutor, *paths: str) -> None:
    """Begin requests that hang."""
    for path in paths:
        pool.submit(_ask, service, path)
    wait_for("requests that hang", lambda: service.log().count("it hangs") == len(paths))


def _ask(service: Service, path: str) -> None:
    try:
        service.get(f"/{path}")
    except Exception:  # it never gets a valid response
        return


def signal_until_exit(service: Service, number: signal.Signals) -> int:
    """Send a signal until the process has ended, and return its status; one that is pending swallows the next."""

    def ended() -> bool:
        service.signal(number)
        return service.process.poll() is not None

    wait_for("the end", ended)
    return service.wait()


def test_after_the_drain_a_process_exits_despite_hanging_threads() -> None:
    with Service(CUT_SOON + EMBEDDED, {"service": HANGING}) as service, ThreadPoolExecutor(9) as pool:
        hang(service, pool, *THREADS, "stubborn")
        service.signal(signal.SIGTERM)
        assert service.wait() == 0
        assert service.log().count("the process exits although thread") >= len(THREADS), service.log()
        assert "still runs, at " in service.log()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("paths", [[*THREADS, "stubborn"], ["in_loop"]], ids=["threads", "loop"])
def test_a_second_signal_exits_a_process_that_hangs(paths: list[str], number: signal.Signals) -> None:
    with Service(PATIENT + EMBEDDED, {"service": HANGING}) as service, ThreadPoolExecutor(9) as pool:
        hang(service, pool, *paths)
        service.signal(signal.SIGTERM)
        assert signal_until_exit(service, number) == 0
        assert "Traceback" not in service.log()


def test_a_second_signal_exits_a_process_with_open_database_connections() -> None:
    with Service(PATIENT + EMBEDDED, {"service": HANGING}) as service:
        service.signal(signal.SIGTERM)
        service.wait_for_log("draining")
        service.signal(signal.SIGTERM)
        assert service.wait() == 0


@pytest.mark.parametrize("path", ["in_thread_pool", "in_loop"])
def test_a_second_signal_exits_a_supervisor_and_all_its_workers(path: str) -> None:
    toml = PATIENT + "workers = 2\n" + EMBEDDED
    with Supervised(toml, {"service": HANGING}) as service, ThreadPoolExecutor(1) as pool:
        hang(service, pool, path)
        workers = family(service.pid)[1:]
        service.signal(signal.SIGTERM)
        assert signal_until_exit(service, signal.SIGTERM) in (0, -signal.SIGTERM)
        wait_for("the end of the workers", lambda: not any(map(alive, workers)))
