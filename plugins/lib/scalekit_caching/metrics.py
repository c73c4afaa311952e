"""Prometheus metrics that every cache records, under the name of its plugin."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from scalekit.telemetry import Alert, Counter, Gauge, Instrument, Share, Telemetry


class _Instruments:
    """The instruments of the cache of *plugin*."""

    def __init__(self, plugin: str) -> None:
        name = f"scalekit_{plugin.replace('-', '_')}"
        self.values = Counter(
            f"{name}_value_requests",
            "Lookups of values by applications.",
            ("outcome",),
            share=Share(f"Hits of values in {plugin}", ("hit",)),
        )
        self.lookups = Counter(f"{name}_lookups", "Lookups of items before a shared store, by level.", ("level",))
        self.in_sync = Gauge(f"{name}_in_sync", "Whether the process is notified of every change (1) or not (0).")
        self.corrupt = Counter(
            f"{name}_corrupt_entries",
            "Stored items that could not be decoded and were deleted.",
            alert=Alert(
                "Stored items of the cache are corrupt.",
                "They are deleted and requested anew, so responses are correct. Something else writes to the same"
                " keys of Redis, or releases with different formats run side by side: give each its own prefix.",
            ),
        )
        self.purges = Counter(f"{name}_purges", "Purges of tags and paths.")
        self.failures = Counter(
            f"{name}_store_failures",
            "Failed calls of the shared store.",
            ("reason",),
            alert=Alert(
                "The shared store of the cache fails: requests are misses.",
                "The application serves what the cache would have: its load rises. See the label reason and the"
                " health check of the cache, and restore Redis.",
            ),
        )
        self.items = Gauge(f"{name}_items", "Items in the memory of the process.")
        self.bytes = Gauge(f"{name}_bytes", "Bytes of items in the memory of the process.")
        self.evictions = Counter(f"{name}_evictions", "Items evicted from the memory of the process.")


class CachingMetrics:
    """The metrics of the cache of *plugin*."""

    def __init__(self, telemetry: Telemetry, plugin: str) -> None:
        instruments = _Instruments(plugin)
        series = telemetry.series
        self.value_hit, self.value_miss = (series(instruments.values, outcome) for outcome in ("hit", "miss"))
        self.lookup_local, self.lookup_shared, self.lookup_miss = (
            series(instruments.lookups, level) for level in ("local", "shared", "miss")
        )
        self.in_sync = series(instruments.in_sync)
        self.corrupt = series(instruments.corrupt)
        self.purges = series(instruments.purges)
        self._failures = instruments.failures
        self._gauges = (instruments.items, instruments.bytes)
        self._evictions = series(instruments.evictions)
        self._telemetry = telemetry

    @staticmethod
    def instruments(plugin: str) -> list[Instrument[Any]]:
        """Return the instruments of the cache of *plugin*."""
        return list(vars(_Instruments(plugin)).values())

    def count_failure(self, reason: str) -> None:
        """Count a call of the shared store that failed with the exception named *reason*."""
        self._telemetry.series(self._failures, reason).inc()

    @contextmanager
    def export_memory(self, statistics: Callable[[], tuple[int, int, int]]) -> Generator[None, None, None]:
        """Export items, bytes and evictions of *statistics* at every scrape while inside."""
        items, size = [self._telemetry.series(gauge) for gauge in self._gauges]
        counted = 0

        def sample() -> None:
            nonlocal counted
            number, number_of_bytes, evictions = statistics()
            items.set(number)
            size.set(number_of_bytes)
            self._evictions.inc(evictions - counted)
            counted = evictions

        with self._telemetry.on_collect(sample):
            yield
