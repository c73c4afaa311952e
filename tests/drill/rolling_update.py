"""A rolling update of three instances behind a reverse proxy, under load from wrk."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.host.runner.server.test_protocol import connections
from tests.processes import wait_for
from tests.proxies import FRONTS
from tests.service import Service
from tests.tools import WrkResult, wrk_load

INSTANCES = 3
SCRIPT = Path(__file__).with_name("get_and_post.lua")
COMPLETED = "stopped; all requests completed"


@dataclass(frozen=True)
class RollingUpdate:
    """The result of wrk during the update of all instances behind *proxy*, and the last line of each one's log."""

    proxy: str
    result: WrkResult
    endings: tuple[str, ...]

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

    @property
    def lost(self) -> list[str]:
        """Endings of instances that have not completed all requests."""
        return [ending for ending in self.endings if not ending.endswith(COMPLETED)]


def roll(proxy: str, server: str = "", connections_of_wrk: int = 32) -> RollingUpdate:
    """Replace each of three instances behind *proxy* while wrk sends GET and POST; return the effect on clients."""
    with ExitStack() as stack:
        services = [stack.enter_context(Service(f"[server]\n{server}\n")) for _ in range(INSTANCES)]
        front = stack.enter_context(FRONTS[proxy](*(each.port for each in services), server=server))
        load = wrk_load(front.url, "-s", str(SCRIPT), connections=connections_of_wrk)
        finish = stack.enter_context(load)
        endings = []
        for service in services:
            wait_for("load on all", lambda: all(connections(each.port) > 2 for each in services))
            endings.append(_replace(service))
        return RollingUpdate(proxy, finish(), tuple(endings))


def _replace(service: Service) -> str:
    """End *service* as a deployment does, start it again, and return the last line of the log of the ended process."""
    service.signal(signal.SIGTERM)
    service.wait()
    ending = service.log().rstrip().splitlines()[-1]
    service.start()
    wait_for("load on the new instance", lambda: connections(service.port) > 2)
    return ending
