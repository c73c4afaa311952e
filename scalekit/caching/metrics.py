"""What every cache counts, under the name of its plugin."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

from scalekit.telemetry import Counter, Gauge, Telemetry


class CachingMetrics:
    """The numbers of the cache of *plugin*."""

    def __init__(self, telemetry: Telemetry, plugin: str) -> None:
        name = f"scalekit_{plugin.replace('-', '_')}"
        objects = Counter(f"{name}_objects", "Values that applications asked for, by how it went.", ("outcome",))
        self.object_hit, self.object_miss = (telemetry.series(objects, outcome) for outcome in ("hit", "miss"))
        lookups = Counter(f"{name}_lookups", "Items that were looked for before a shared store.", ("found",))
        self.found_here, self.found_shared, self.found_nowhere = (
            telemetry.series(lookups, level) for level in ("process", "shared", "nowhere")
        )
        self.live = telemetry.series(Gauge(f"{name}_followed", "Whether the process hears of every change (1)."))
        self.invalid = telemetry.series(
            Counter(f"{name}_invalid", "Kept items that could not be read, and were deleted.")
        )
        self.purges = telemetry.series(Counter(f"{name}_purges", "Purges of tags and paths."))
        self._failures = Counter(f"{name}_store_failures", "Calls of the shared store that failed.", ("error",))
        self._gauges = (
            Gauge(f"{name}_items", "Items in the process."),
            Gauge(f"{name}_bytes", "Bytes of items in the process."),
            Gauge(f"{name}_evicted", "Items that made room for others."),
        )
        self._telemetry = telemetry

    def failed(self, error: str) -> None:
        """Count a call of the shared store that failed with *error*."""
        self._telemetry.series(self._failures, error).inc()

    @contextmanager
    def showing(self, figures: Callable[[], tuple[int, int, int]]) -> Generator[None, None, None]:
        """Set the gauges from *figures*, items, bytes and evicted, whenever numbers are read, until left."""
        gauges = [self._telemetry.series(gauge) for gauge in self._gauges]

        def sample() -> None:
            for gauge, value in zip(gauges, figures(), strict=True):
                gauge.set(value)

        with self._telemetry.sampling(sample):
            yield
