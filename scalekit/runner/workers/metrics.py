"""Prometheus metrics of the worker processes."""

from __future__ import annotations

from scalekit.telemetry import Counter, Gauge

WORKERS = Gauge("scalekit_workers", "Worker processes that serve.")
WORKER_EXITS = Counter(
    "scalekit_worker_exits", "Worker processes that exited: crashed, hung or retired (replaced).", ("reason",)
)
