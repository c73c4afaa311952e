"""What every cache counts, under the name of its plugin."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from scalekit.telemetry import Alert, Counter, Gauge, Instrument, Telemetry


class CachingInstruments:
    """What is counted of the cache of *plugin*."""

    def __init__(self, plugin: str) -> None:
        name = f"scalekit_{plugin.replace('-', '_')}"
        self.objects = Counter(f"{name}_objects", "Values that applications asked for, by how it went.", ("outcome",))
        self.lookups = Counter(f"{name}_lookups", "Items that were looked for before a shared store.", ("found",))
        self.live = Gauge(f"{name}_followed", "Whether the process hears of every change (1).")
        self.invalid = Counter(
            f"{name}_invalid",
            "Kept items that could not be read, and were deleted.",
            alert=Alert("Items of the cache cannot be read."),
        )
        self.purges = Counter(f"{name}_purges", "Purges of tags and paths.")
        self.failures = Counter(
            f"{name}_store_failures",
            "Calls of the shared store that failed.",
            ("error",),
            alert=Alert("The shared store of the cache fails."),
        )
        self.items = Gauge(f"{name}_items", "Items in the process.")
        self.bytes = Gauge(f"{name}_bytes", "Bytes of items in the process.")
        self.evicted = Gauge(f"{name}_evicted", "Items that made room for others.")

    def all(self) -> list[Instrument[Any]]:
        """Return every one of them."""
        return list(vars(self).values())


class CachingMetrics:
    """The numbers of the cache of *plugin*."""

    def __init__(self, telemetry: Telemetry, plugin: str) -> None:
        declared = CachingInstruments(plugin)
        series = telemetry.series
        self.object_hit, self.object_miss = (series(declared.objects, outcome) for outcome in ("hit", "miss"))
        self.found_here, self.found_shared, self.found_nowhere = (
            series(declared.lookups, level) for level in ("process", "shared", "nowhere")
        )
        self.live = series(declared.live)
        self.invalid = series(declared.invalid)
        self.purges = series(declared.purges)
        self._failures = declared.failures
        self._gauges = (declared.items, declared.bytes, declared.evicted)
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

        with self._telemetry.on_collect(sample):
            yield
