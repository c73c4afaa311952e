"""Where services are, by Consul: blocking queries, one after the other."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from typing import Any

from scalekit_discovery.consul import CONSISTENT, Consul
from scalekit_discovery.instances import Instance
from scalekit_discovery.sources import Report, SourceError

PAUSE = 0.1
"""Seconds at most between two queries: many that wake at once ask again one after the other."""


class ConsulSource:
    """What *consul* knows; a query waits *wait* seconds for a change."""

    remembered = True

    def __init__(self, consul: Consul, wait: float) -> None:
        self.place = consul.place
        self._consul = consul
        self._wait = wait
        self._healthy: dict[str, frozenset[str]] = {}

    async def follow(self, name: str, report: Report) -> None:
        """Report the healthy instances of *name* whenever Consul has news."""
        index = 0
        while True:
            healthy = self._healthy.get(name, frozenset())
            freshness = CONSISTENT if healthy and not index else self._consul.freshness
            latest, entries = await self._consul.health(name, index, self._wait, freshness)
            try:
                instances = [_instance(entry) for entry in entries if _is_healthy(entry, healthy)]
            except (KeyError, TypeError, ValueError, AttributeError):
                raise SourceError(f"{self.place} answers what is not its API") from None
            self._healthy[name] = frozenset(instance.id for instance in instances)
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


def _is_healthy(entry: Mapping[str, Any], before: frozenset[str]) -> bool:
    """Tell whether no check says otherwise; one that was never run says nothing new.

    An agent that has been restarted calls each of its checks critical, without a word, until it has run it.
    """
    was = entry["Service"]["ID"] in before
    checks: Sequence[Mapping[str, Any]] = entry["Checks"]
    return all(check["Status"] != "critical" or (was and not check.get("Output")) for check in checks)


def _instance(entry: Mapping[str, Any]) -> Instance:
    service = entry["Service"]
    meta = {str(key): str(value) for key, value in (service.get("Meta") or {}).items()}
    weight = int((service.get("Weights") or {}).get("Passing", 1))
    return Instance(
        id=str(service["ID"]),
        address=str(service.get("Address") or entry["Node"]["Address"]),
        port=int(service["Port"]),
        scheme="https" if meta.get("scheme") == "https" else "http",
        tags=tuple(service.get("Tags") or ()),
        meta=meta,
        weight=max(1, weight),
    )
