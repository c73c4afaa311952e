"""Consul as the source of instances, with one blocking query after the other."""

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
MIN_WAIT = 0.1
"""Seconds; Consul treats a wait of zero as its longest."""
MAX_JITTER = 0.1
"""Seconds between two queries at most, so that many processes do not query at the same time after a change."""


class ConsulSource:
    """Watches services in Consul; a blocking query waits *blocking_wait* seconds for a change.

    For *restart_grace* seconds a check that a restarted agent has not run yet is ignored.
    """

    cacheable = True

    def __init__(self, consul: ConsulClient, blocking_wait: float, restart_grace: float) -> None:
        self.name = consul.name
        self._consul = consul
        self._blocking_wait = blocking_wait
        self._restart_grace = restart_grace
        self._history: dict[str, CheckHistory] = {}

    async def watch(self, name: str, report: Report) -> None:
        """Report the healthy instances of *name* after each blocking query."""
        index = 0
        history = self._history.setdefault(name, CheckHistory(self._restart_grace))
        while True:
            consistency = CONSISTENT if history.healthy and not index else self._consul.consistency
            wait = history.limit_wait(self._blocking_wait, monotonic())
            latest, entries = await self._consul.health(name, index, wait, consistency)
            try:
                instances = [_instance(entry) for entry in history.select_healthy(entries, monotonic())]
            except (KeyError, TypeError, ValueError, AttributeError):
                raise SourceError(f"{self.name}: unexpected response, not Consul's API") from None
            report(instances)
            index = next_index(index, latest)
            await asyncio.sleep(random.uniform(0.0, MAX_JITTER))

    async def check(self) -> None:
        """Return when Consul responds; raise SourceError when not."""
        await self._consul.ping()

    async def names(self) -> list[str]:
        """Return the names of all services except Consul's own."""
        return await self._consul.names()


def next_index(index: int, latest: int) -> int:
    """Return the index of the next blocking query.

    A lower index than before, or none, is that of another Consul or of one that lost its state: start at 0 again.
    """
    return latest if latest >= max(index, 1) else 0


class CheckHistory:
    """The instances of one service that were healthy, and since when their checks are critical without output.

    A restarted agent reports each check as critical without output until it has run it. For *grace* seconds that does
    not remove an instance that was healthy. TTL checks and maintenance mode are not run by the agent: they apply at
    once.
    """

    def __init__(self, grace: float) -> None:
        self.healthy: frozenset[str] = frozenset()
        self._grace = grace
        self._not_run_since: dict[tuple[str, str], float] = {}

    def select_healthy(self, entries: Sequence[Mapping[str, Any]], now: float) -> list[Mapping[str, Any]]:
        """Return the healthy *entries* of Consul's health API."""
        before, self._not_run_since = self._not_run_since, {}
        healthy = [entry for entry in entries if self._is_healthy(entry, before, now)]
        self.healthy = frozenset(entry["Service"]["ID"] for entry in healthy)
        return healthy

    def limit_wait(self, wait: float, now: float) -> float:
        """Return *wait* in seconds, or less when a grace period ends earlier."""
        ends = [since + self._grace - now for since in self._not_run_since.values()]
        return min([wait, *(max(end, MIN_WAIT) for end in ends)])

    def _is_healthy(self, entry: Mapping[str, Any], before: Mapping[tuple[str, str], float], now: float) -> bool:
        was_healthy = entry["Service"]["ID"] in self.healthy
        # Every check is evaluated, because each has a grace period of its own.
        passes = [self._passes(check, was_healthy, before, now) for check in entry["Checks"]]
        return all(passes)

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
