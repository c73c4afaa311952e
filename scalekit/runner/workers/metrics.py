"""What is counted of workers."""

from __future__ import annotations

from scalekit.telemetry import Counter, Gauge

SERVING = Gauge("scalekit_workers", "Worker processes that serve.")
ENDED = Counter("scalekit_workers_ended", "Worker processes that have ended, and why.", ("why",))
