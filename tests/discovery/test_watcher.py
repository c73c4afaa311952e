"""Backoff of a watcher while its source is unavailable."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from scalekit.telemetry import NullTelemetry
from scalekit_discovery.instance_cache import InstanceCache
from scalekit_discovery.instances import ServiceInstance
from scalekit_discovery.metrics import ServiceMetrics
from scalekit_discovery.sources import Report, SourceError
from scalekit_discovery.watcher import ServiceWatcher

pytestmark = pytest.mark.anyio


class BusySource:
    """Fails once, with *retry_after*, and notes when it is called."""

    name = "a busy source"
    cacheable = False

    def __init__(self, retry_after: float) -> None:
        self.calls: list[float] = []
        self._retry_after = retry_after

    async def watch(self, name: str, report: Report) -> None:
        self.calls.append(asyncio.get_running_loop().time())
        if len(self.calls) == 1:
            raise SourceError("busy", self._retry_after)
        report([ServiceInstance("a", "127.0.0.1", 80)])
        await asyncio.Event().wait()

    async def check(self) -> None:
        raise NotImplementedError

    async def names(self) -> list[str]:
        raise NotImplementedError


async def test_the_next_attempt_waits_as_long_as_the_source_asks() -> None:
    source = BusySource(retry_after=0.7)
    found: list[Sequence[ServiceInstance]] = []
    metrics = ServiceMetrics(NullTelemetry(), "inventory")
    watcher = ServiceWatcher("inventory", source, InstanceCache(""), metrics, found.append)
    assert await watcher.wait_resolved(30)
    await watcher.stop()
    first, second = source.calls
    assert second - first >= 0.7
    assert [each.id for each in watcher.instances] == ["a"]
