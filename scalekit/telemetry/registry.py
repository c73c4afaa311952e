"""The metrics of one application in one process."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from scalekit.errors import PluginError
from scalekit.telemetry.instruments import AnyInstrument, Gauge, Histogram, Instrument, S
from scalekit.telemetry.snapshot import LabelValues, MetricFamilies, MetricFamily, Snapshot
from scalekit.telemetry.worker_totals import OTHER, Totals

logger = logging.getLogger("scalekit")

T = TypeVar("T")

Sample = Callable[[], None]
Source = Callable[[], MetricFamilies]
Gather = Callable[[], Awaitable[Snapshot]]


class Telemetry:
    """Series by instrument and label values, at most *budget* series per instrument.

    ``catalogue`` lists the instruments of each plugin and of the host, recorded or not yet.
    """

    recording = True

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.gather: Gather = self._of_this_process
        self.catalogue: Mapping[str, Sequence[AnyInstrument]] = {}
        self._series: dict[str, dict[LabelValues, Any]] = {}
        self._declared: dict[str, AnyInstrument] = {}
        self._samples: list[Sample] = []
        self._sources: list[Source] = []
        self._was_collected = False
        self._last: MetricFamilies = {}
        self._failing: list[Callable[[], object]] = []

    def series(self, instrument: Instrument[S], *values: str) -> S:
        """Return the series of *instrument* with the label *values*, in the order of its labels.

        Beyond the budget, return the series ``other``. Raises PluginError when another instrument has the same name,
        and ValueError when the number of values differs from the number of labels.
        """
        known = self._series.get(instrument.name)
        if known is None or self._declared[instrument.name] is not instrument:
            known = self._declare(instrument)
        found: S | None = known.get(values)
        return self._add(instrument, known, values) if found is None else found

    def recorded(self, instrument: Instrument[S]) -> Mapping[LabelValues, S]:
        """Return the series of *instrument* in this process by label values."""
        return self._series.get(instrument.name, {})

    @contextmanager
    def on_collect(self, callback: Sample) -> Generator[None, None, None]:
        """Call *callback* before each snapshot, for example to set gauges, until the block exits."""
        self._samples.append(callback)
        try:
            yield
        finally:
            self._samples.remove(callback)

    @contextmanager
    def with_collector(self, source: Source) -> Generator[None, None, None]:
        """Add the families that *source* returns to each snapshot; on exit, retain the last ones.

        *source* is not called before the first snapshot, not even on exit, since it may import a large library.
        """
        self._sources.append(source)
        try:
            yield
        finally:
            if self._was_collected:
                self._last |= self._call(source) or {}
            self._sources.remove(source)

    def snapshot(self) -> Snapshot:
        """Return the metrics of this process."""
        self._was_collected = True
        for callback in list(self._samples):
            self._call(callback)
        families = dict(self._last)
        for source in list(self._sources):
            families |= self._call(source) or {}
        return Snapshot(self.budget, families | {name: self._family(name) for name in self._declared})

    async def total(self) -> Snapshot:
        """Return the metrics of all worker processes, exited ones included."""
        return await self.gather()

    async def _of_this_process(self) -> Snapshot:
        totals = Totals()
        totals.update("1", self.snapshot())
        return totals.total()

    def _call(self, callback: Callable[[], T]) -> T | None:
        """Return the result of a plugin's *callback*; log its first failure and return None while it keeps failing."""
        try:
            result = callback()
        except Exception:
            if callback not in self._failing:
                logger.exception("collector %r failed: its metrics are left out", callback)
                self._failing.append(callback)
            return None
        if callback in self._failing:
            self._failing.remove(callback)
        return result

    def _declare(self, instrument: AnyInstrument) -> dict[LabelValues, Any]:
        declared = self._declared.setdefault(instrument.name, instrument)
        if declared != instrument:
            raise PluginError(f"metric {instrument.name!r} is declared twice with different definitions; rename one")
        return self._series.setdefault(instrument.name, {})

    def _add(self, instrument: Instrument[S], known: dict[LabelValues, Any], values: tuple[str, ...]) -> S:
        if len(values) != len(instrument.labels):
            raise ValueError(f"metric {instrument.name!r} has the labels {instrument.labels}, got {values}")
        rest = (OTHER,) * len(values)
        if values and len(known) >= self.budget and values != rest:
            if rest not in known:
                _warn(instrument, known, self.budget)
            values = rest
        series: S = known.setdefault(values, instrument.new_series())
        return series

    def _family(self, name: str) -> MetricFamily:
        declared = self._declared[name]
        data = {values: series.data() for values, series in list(self._series[name].items())}
        multiprocess_mode = declared.multiprocess_mode if isinstance(declared, Gauge) else "sum"
        bounds = declared.buckets if isinstance(declared, Histogram) else ()
        return MetricFamily(declared.kind, declared.help, declared.labels, multiprocess_mode, bounds, data)


class NullTelemetry(Telemetry):
    """Telemetry without an exporter: a null object that records nothing."""

    recording = False

    def __init__(self) -> None:
        super().__init__(0)

    def series(self, instrument: Instrument[S], *values: str) -> S:
        """Return a series that records nothing."""
        return instrument.null_series()


def _warn(instrument: AnyInstrument, known: dict[LabelValues, Any], budget: int) -> None:
    distinct = [len({values[place] for values in known}) for place in range(len(instrument.labels))]
    widest = instrument.labels[distinct.index(max(distinct))]
    logger.warning(
        "metric %s reached its budget of %d series: new label values are recorded as %r; label %r has %d values",
        instrument.name,
        budget,
        OTHER,
        widest,
        max(distinct),
    )
