"""The metrics of one application in one process."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from scalekit.errors import PluginError
from scalekit.telemetry.instruments import Gauge, Histogram, Instrument, S
from scalekit.telemetry.snapshot import MetricFamilies, MetricFamily, Snapshot
from scalekit.telemetry.worker_totals import OTHER, Totals

logger = logging.getLogger("scalekit")

T = TypeVar("T")

Sample = Callable[[], None]
Source = Callable[[], MetricFamilies]
Gather = Callable[[], Awaitable[Snapshot]]


class Telemetry:
    """Series by declaration and label values, at most *budget* for each declaration.

    ``catalogue`` has what each plugin and the host say that they record, whether or not they have yet.
    """

    recording = True

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.gather: Gather = self._of_this_process
        self.catalogue: Mapping[str, Sequence[Instrument[Any]]] = {}
        self._series: dict[str, dict[tuple[str, ...], Any]] = {}
        self._declared: dict[str, Instrument[Any]] = {}
        self._samples: list[Sample] = []
        self._sources: list[Source] = []
        self._was_read = False
        self._last: MetricFamilies = {}
        self._failing: list[Callable[[], Any]] = []

    def series(self, declaration: Instrument[S], *values: str) -> S:
        """Return the series of *declaration* under *values*, one for each of its labels.

        Beyond the budget it is the series ``other``. Raises PluginError when the name is declared otherwise too, and
        ValueError when the values do not match the labels.
        """
        known = self._series.get(declaration.name)
        if known is None or self._declared[declaration.name] is not declaration:
            known = self._declare(declaration)
        found: S | None = known.get(values)
        return self._add(declaration, known, values) if found is None else found

    @contextmanager
    def on_collect(self, callback: Sample) -> Generator[None, None, None]:
        """Call *callback* before each snapshot, to set gauges, until left."""
        self._samples.append(callback)
        try:
            yield
        finally:
            self._samples.remove(callback)

    @contextmanager
    def with_collector(self, source: Source) -> Generator[None, None, None]:
        """Add the families that *source* returns to each snapshot; when left, the last that it returns stay.

        While no snapshot has been taken *source* is not called, not even at last: it may have to import much.
        """
        self._sources.append(source)
        try:
            yield
        finally:
            if self._was_read:
                self._last |= self._call(source) or {}
            self._sources.remove(source)

    def snapshot(self) -> Snapshot:
        """Return the numbers of this process."""
        self._was_read = True
        for callback in list(self._samples):
            self._call(callback)
        families = dict(self._last)
        for source in list(self._sources):
            families |= self._call(source) or {}
        return Snapshot(self.budget, families | {name: self._family(name) for name in self._declared})

    async def total(self) -> Snapshot:
        """Return the numbers of all worker processes, those that have ended included."""
        return await self.gather()

    async def _of_this_process(self) -> Snapshot:
        totals = Totals()
        totals.update("1", self.snapshot())
        return totals.total()

    def _call(self, callback: Callable[[], T]) -> T | None:
        """Call what a plugin gave; what fails is told of once, and left out while it goes on failing."""
        try:
            result = callback()
        except Exception:
            if callback not in self._failing:
                logger.exception("metrics of %r are left out: it failed", callback)
                self._failing.append(callback)
            return None
        if callback in self._failing:
            self._failing.remove(callback)
        return result

    def _declare(self, declaration: Instrument[Any]) -> dict[tuple[str, ...], Any]:
        declared = self._declared.setdefault(declaration.name, declaration)
        if declared != declaration:
            raise PluginError(f"metric {declaration.name!r} is declared in two ways; rename one")
        return self._series.setdefault(declaration.name, {})

    def _add(self, declaration: Instrument[S], known: dict[tuple[str, ...], Any], values: tuple[str, ...]) -> S:
        if len(values) != len(declaration.labels):
            raise ValueError(f"metric {declaration.name!r} has the labels {declaration.labels}, got {values}")
        rest = (OTHER,) * len(values)
        if values and len(known) >= self.budget and values != rest:
            if rest not in known:
                _warn(declaration, known, self.budget)
            values = rest
        series: S = known.setdefault(values, declaration.new())
        return series

    def _family(self, name: str) -> MetricFamily:
        declared = self._declared[name]
        data = {values: series.data() for values, series in list(self._series[name].items())}
        multiprocess_mode = declared.multiprocess_mode if isinstance(declared, Gauge) else "sum"
        bounds = declared.buckets if isinstance(declared, Histogram) else ()
        return MetricFamily(declared.kind, declared.help, declared.labels, multiprocess_mode, bounds, data)


class NullTelemetry(Telemetry):
    """Telemetry that nothing exports: it records nothing and keeps nothing."""

    recording = False

    def __init__(self) -> None:
        super().__init__(0)

    def series(self, declaration: Instrument[S], *values: str) -> S:
        """Return a series that does nothing."""
        return declaration.silent()


def _warn(declaration: Instrument[Any], known: dict[tuple[str, ...], Any], budget: int) -> None:
    distinct = [len({values[place] for values in known}) for place in range(len(declaration.labels))]
    widest = declaration.labels[distinct.index(max(distinct))]
    logger.warning(
        "metric %s has %d series, all it may have: what is new counts as %r; its label %r has %d values",
        declaration.name,
        budget,
        OTHER,
        widest,
        max(distinct),
    )
