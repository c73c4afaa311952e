"""Sum the metrics of all worker processes so that counters never decrease.

Each worker sends a snapshot periodically. One sum holds the counters of exited workers. The budget of label values is
applied here for all workers together, so that a series never moves into ``other``.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import add
from typing import Any

from scalekit.telemetry.snapshot import LabelValues, MetricFamilies, MetricFamily, Snapshot

OTHER = "other"
"""The label value of the series that collects everything beyond the budget."""


class Totals:
    """The latest snapshot of each worker, and the sum of the exited workers."""

    def __init__(self) -> None:
        self._latest: dict[tuple[str, int], MetricFamilies] = {}
        self._exited: MetricFamilies = {}
        self._admitted: dict[str, set[LabelValues]] = {}
        self._budget = 0

    def update(self, worker: str, snapshot: Snapshot, generation: int = 0) -> None:
        """Replace the snapshot of *worker*; during a replacement its old and new *generation* exist side by side."""
        self._budget = max(self._budget, snapshot.budget)
        families = {name: self._within_budget(name, each) for name, each in snapshot.families.items()}
        self._latest[worker, generation] = families

    def mark_exited(self, worker: str, generation: int = 0) -> None:
        """Add the counters and histograms of the exited *worker* to the sum, and drop its gauges."""
        for name, family in self._latest.pop((worker, generation), {}).items():
            if family.kind != "gauge":
                _add(self._exited, name, family)

    def total(self) -> Snapshot:
        """Return the sum of all workers."""
        families: MetricFamilies = {}
        for name, family in self._exited.items():
            _add(families, name, family)
        for (worker, _), latest in self._latest.items():
            for name, family in latest.items():
                each = family.multiprocess_mode == "all"
                _add(families, name, _labelled(family, worker) if each else family)
        return Snapshot(self._budget, dict(sorted(families.items())))

    def _within_budget(self, name: str, family: MetricFamily) -> MetricFamily:
        admitted = self._admitted.setdefault(name, set())
        new = family.data.keys() - admitted
        if len(admitted) + len(new) <= self._budget:
            admitted |= new
            return family
        merged = MetricFamily(family.kind, family.help, family.labels, family.multiprocess_mode, family.bounds)
        for values, data in family.data.items():
            if values not in admitted and len(admitted) < self._budget:
                admitted.add(values)
            place = values if values in admitted else (OTHER,) * len(values)
            merged.data[place] = _sum(family, merged.data[place], data) if place in merged.data else data
        return merged


def _labelled(family: MetricFamily, worker: str) -> MetricFamily:
    data = {(*values, worker): number for values, number in family.data.items()}
    return MetricFamily(family.kind, family.help, (*family.labels, "worker"), "all", (), data)


def _add(families: MetricFamilies, name: str, more: MetricFamily) -> None:
    """Add *more* to *families*; replace the family when a new worker declares it with other labels or buckets."""
    mine = families.get(name)
    if mine is None or not mine.is_compatible(more):
        families[name] = MetricFamily(
            more.kind, more.help, more.labels, more.multiprocess_mode, more.bounds, dict(more.data)
        )
        return
    data = mine.data
    for values, numbers in more.data.items():
        data[values] = _sum(mine, data[values], numbers) if values in data else numbers


def _sum(family: MetricFamily, one: Any, other: Any) -> Any:
    if family.kind != "histogram":
        return _COMBINED[family.multiprocess_mode](one, other)
    counts = list(map(add, one[1], other[1]))
    return [one[0] + other[0], counts, _latest_exemplars(one[2], other[2])]


def _latest_exemplars(one: dict[str, list[Any]], other: dict[str, list[Any]]) -> dict[str, list[Any]]:
    if not one or not other:
        return one or other
    newer = {bucket: each for bucket, each in other.items() if bucket not in one or each[2] > one[bucket][2]}
    return {**one, **newer}


_COMBINED: dict[str, Callable[[float, float], float]] = {"sum": add, "all": add, "max": max, "min": min}
