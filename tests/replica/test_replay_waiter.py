"""Waiting for a replica that has replayed the last write of the client."""

from __future__ import annotations

from typing import Any

import pytest

from scalekit.contracts import CONSISTENCY, Consistency
from scalekit.telemetry import Telemetry
from scalekit_replica.metrics import RoutingMetrics
from scalekit_replica.replay_waiter import ReplayWaiter
from tests.recorded_spans import recorded_spans

pytestmark = pytest.mark.anyio
TIMEOUT = 0.02


async def test_a_wait_is_a_span_and_an_observation() -> None:
    metrics = RoutingMetrics(Telemetry(100))
    waiter = ReplayWaiter([], TIMEOUT, 1.0, metrics)
    with recorded_spans() as spans:
        assert await waiter.wait_for(1) is None
    await waiter.stop()
    wait = spans["replica wait"]
    assert (wait.ended_ns - wait.began_ns) / 1e9 >= TIMEOUT / 2, "a timer may be early by its resolution"
    assert metrics.waits.data()[0] >= TIMEOUT / 2


async def test_without_a_timeout_no_one_waits() -> None:
    with recorded_spans() as spans:
        assert await ReplayWaiter([], 0.0, 1.0, RoutingMetrics(Telemetry(100))).wait_for(1) is None
    assert spans.names() == []


class LateReplica:
    """Replays nothing, and records the consistency of the contexts that poll it."""

    name = "late"

    def __init__(self) -> None:
        self.found: list[object] = []

    def is_ready(self) -> bool:
        return True

    async def refresh_position(self) -> None:
        self.found.append(CONSISTENCY.get())

    def has_replayed(self, position: int) -> bool:
        return False


async def test_polls_belong_to_no_request() -> None:
    CONSISTENCY.set(Consistency())
    late: Any = LateReplica()
    waiter = ReplayWaiter([late], TIMEOUT, 1.0, RoutingMetrics(Telemetry(100)))
    assert await waiter.wait_for(1) is None
    await waiter.stop()
    assert late.found
    assert set(late.found) == {None}, "a poll must not count in the query budget of the request that waits first"
