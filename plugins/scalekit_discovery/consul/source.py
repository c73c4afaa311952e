"""Where services are, by Consul: blocking queries, one after the other."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Any

from scalekit_discovery.consul.client import CONSISTENT, ConsulClient
from scalekit_discovery.instances import ServiceInstance
from scalekit_discovery.sources import Report, SourceError

RUN_BY_AGENT = frozenset(("http", "tcp", "udp", "grpc", "h2ping", "script", "docker", "os_service"))
"""Types of checks that have no output until the agent has run them."""
SHORTEST_WAIT = 0.1
"""Seconds; Consul takes a wait of none for its longest."""
PAUSE = 0.1
"""Seconds at most between two queries: many that wake at once ask again one after the other."""


class ConsulSource:
    """What *consul* knows; a query waits *wait* seconds for a change.

    *restart_grace* is for how many seconds a check that a restarted agent has not run yet changes nothing.
    """

    remembered = True

    def __init__(self, consul: ConsulClient, wait: float, restart_grace: float) -> None:
        self.place = consul.place
        self._consul = consul
        self._wait = wait
        self._restart_grace = restart_grace
        self._history: dict[str, CheckHistory] = {}

    async def follow(self, name: str, report: Report) -> None:
        """Report the healthy instances of *name* whenever Consul has news."""
        index = 0
        history = self._history.setdefault(name, CheckHistory(self._restart_grace))
        while True:
            freshness = CONSISTENT if history.healthy and not index else self._consul.freshness
            wait = history.shorten(self._wait, monotonic())
            latest, entries = await self._consul.health(name, index, wait, freshness)
            try:
                instances = [_instance(entry) for entry in history.select_healthy(entries, monotonic())]
            except (KeyError, TypeError, ValueError, AttributeError):
                raise SourceError(f"{self.place} answers what is not its API") from None
            report(instances)
            index = following(index, latest)
            await asyncio.sleep(random.uniform(0.0, PAUSE))

    async def check(self) -> None:
        """Return when Consul answers; raises SourceError when it does not."""
        await self._consul.reach()


def following(index: int, latest: int) -> int:
    """Return the index to wait for a change from.

    A smaller one than before, or none, is that of another Consul, or of one that has lost its state: begin anew.
    """
    return latest if latest >= max(index, 1) else 0


class CheckHistory:
    """Which instances of one service were healthy, and since when their checks are critical without output.

    An agent that has been restarted reports each of its checks as critical, without output, until it has run it. For
    *grace* seconds that takes no instance out which was healthy before. A TTL check and maintenance are not run by the
    agent: their word counts at once.
    """

    def __init__(self, grace: float) -> None:
        self.healthy: frozenset[str] = frozenset()
        self._grace = grace
        self._not_run_since: dict[tuple[str, str], float] = {}

    def select_healthy(self, entries: Sequence[Mapping[str, Any]], now: float) -> list[Mapping[str, Any]]:
        """Return the healthy ones of *entries*, as the health API of Consul has them."""
        before, self._not_run_since = self._not_run_since, {}
        healthy = [entry for entry in entries if self._is_healthy(entry, before, now)]
        self.healthy = frozenset(entry["Service"]["ID"] for entry in healthy)
        return healthy

    def shorten(self, wait: float, now: float) -> float:
        """Return *wait* seconds, or less when a grace ends before."""
        ends = [since + self._grace - now for since in self._not_run_since.values()]
        return min([wait, *(max(end, SHORTEST_WAIT) for end in ends)])

    def _is_healthy(self, entry: Mapping[str, Any], before: Mapping[tuple[str, str], float], now: float) -> bool:
        was_healthy = entry["Service"]["ID"] in self.healthy
        # Of every check, so that each has its time: the first critical one does not end the look.
        verdicts = [self._passes(check, was_healthy, before, now) for check in entry["Checks"]]
        return all(verdicts)

    def _passes(
        self, check: Mapping[str, Any], was_healthy: bool, before: Mapping[tuple[str, str], float], now: float
    ) -> bool:
        if check["Status"] != "critical":
            return True
        if not was_healthy or check.get("Output") or check.get("Type") not in RUN_BY_AGENT:
            return False
        key = (str(check["Node"]), str(check["CheckID"]))
        since = before.get(key, now)
        if now >= since + self._grace:
            return False
        self._not_run_since[key] = since
        return True


def _instance(entry: Mapping[str, Any]) -> ServiceInstance:
    service = entry["Service"]
    meta = {str(key): str(value) for key, value in (service.get("Meta") or {}).items()}
    weight = int((service.get("Weights") or {}).get("Passing", 1))
    return ServiceInstance(
        id=str(service["ID"]),
        address=str(service.get("Address") or entry["Node"]["Address"]),
        port=int(service["Port"]),
        scheme="https" if meta.get("scheme") == "https" else "http",
        tags=tuple(service.get("Tags") or ()),
        meta=meta,
        weight=max(1, weight),
    )
