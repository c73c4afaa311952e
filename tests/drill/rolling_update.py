"""A rolling update of three instances behind reverse proxies, under load from wrk."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.processes import wait_for
from tests.proxies import FRONTS, Proxy
from tests.servers import ask
from tests.service import Service
from tests.tools import WrkResult, wrk_load

INSTANCES = 3
SCRIPT = Path(__file__).with_name("get_and_post.lua")
COMPLETED = "stopped; all requests completed"
SOURCE = """\
import os

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route


async def pid(request):
    return PlainTextResponse(str(os.getpid()))


async def write(request):
    return PlainTextResponse(str(len(await request.body())))


app = Starlette(routes=[Route("/pid", pid), Route("/write", write, methods=["POST"])])
"""
HEADING = """\
| proxy | requests | p99 | failed |
|---|---|---|---|"""


@dataclass(frozen=True)
class RollingUpdate:
    """The result of wrk through *proxy* during the update of all instances."""

    proxy: str
    result: WrkResult

    @property
    def failures(self) -> dict[str, int]:
        """Failed requests by kind, without those that are 0."""
        counted = {
            "not 2xx or 3xx": self.result.not_2xx_or_3xx,
            "connect": self.result.connect_errors,
            "read": self.result.read_errors,
            "write": self.result.write_errors,
            "timeout": self.result.timeouts,
        }
        return {name: count for name, count in counted.items() if count}


def roll(proxies: Sequence[str], server: str = "", connections: int = 32) -> list[RollingUpdate]:
    """Replace each of three instances while wrk sends GET and POST through each of *proxies*.

    *server* is the content of ``[server]``. Return the effect on the clients of each proxy; raise RuntimeError when an
    instance has not completed all its requests.
    """
    with ExitStack() as stack:
        services = [
            stack.enter_context(Service(f"[server]\n{server}\n", {"service": SOURCE})) for _ in range(INSTANCES)
        ]
        ports = [each.port for each in services]
        fronts = [stack.enter_context(FRONTS[name](*ports, server=server)) for name in proxies]
        loads = [wrk_load(each.url, "-s", str(SCRIPT), connections=connections) for each in fronts]
        finish = [stack.enter_context(load) for load in loads]
        for service in services:
            _wait_for_all(fronts, services)
            _replace(service)
        _wait_for_all(fronts, services)
        return [RollingUpdate(name, end()) for name, end in zip(proxies, finish, strict=True)]


def _wait_for_all(fronts: Sequence[Proxy], services: Sequence[Service]) -> None:
    """Wait until each proxy has sent requests to every instance."""
    pids = {str(each.process.pid) for each in services}
    for front in fronts:
        found: set[str] = set()

        def reaches_all(front: Proxy = front, found: set[str] = found) -> bool:
            found.add(ask(front.port, "GET", "/pid"))
            return pids <= found

        wait_for("requests to all instances", reaches_all)


def _replace(service: Service) -> None:
    """End *service* as a deployment does, and start it again."""
    service.signal(signal.SIGTERM)
    service.wait()
    ending = service.log().rstrip().splitlines()[-1]
    if not ending.endswith(COMPLETED):
        raise RuntimeError(f"an instance ended with requests in flight: {ending}")
    service.start()


def update_report(updates: Sequence[RollingUpdate]) -> str:
    """Return the page as Markdown."""
    lines = "\n".join(map(_line, updates))
    return f"""\
# Rolling update

Three instances behind each proxy, with the configuration of `scalekit deploy`, are replaced one after the other while
wrk sends GET and POST.

{HEADING}
{lines}
"""


def update_mistakes(updates: Sequence[RollingUpdate]) -> list[str]:
    """Return the failed requests behind each proxy."""
    return [f"{each.proxy}: {_failed(each)} failed" for each in updates if each.failures]


def _failed(update: RollingUpdate) -> str:
    return ", ".join(f"{count} {name}" for name, count in update.failures.items()) or "none"


def _line(update: RollingUpdate) -> str:
    return f"| {update.proxy} | {update.result.requests} | {update.result.p99 * 1000:.0f} ms | {_failed(update)} |"
