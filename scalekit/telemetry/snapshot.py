"""Snapshots of metrics, and their encoding between processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

LabelValues = tuple[str, ...]
"""The values of a series' labels, in the order of the instrument's label names."""


@dataclass(slots=True)
class MetricFamily:
    """All series of one metric; *labels* are label names, *data* has each series' ``data()`` by label values."""

    kind: str
    help: str
    labels: tuple[str, ...]
    multiprocess_mode: str = "sum"
    bounds: tuple[float, ...] = ()
    data: dict[LabelValues, Any] = field(default_factory=dict)

    def is_compatible(self, other: MetricFamily) -> bool:
        """Return whether *other* has the same type, labels and buckets, so that both can be summed."""
        mine = (self.kind, self.labels, self.multiprocess_mode, self.bounds)
        return mine == (other.kind, other.labels, other.multiprocess_mode, other.bounds)


MetricFamilies = dict[str, MetricFamily]
"""The metrics of a process by name."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The metrics of one process by name, and the maximum number of series of each."""

    budget: int
    families: MetricFamilies


def encode(snapshot: Snapshot) -> bytes:
    """Return *snapshot* as JSON."""
    families = {
        name: [each.kind, each.help, each.labels, each.multiprocess_mode, each.bounds, list(each.data.items())]
        for name, each in snapshot.families.items()
    }
    return orjson.dumps([snapshot.budget, families])


def decode(text: bytes) -> Snapshot:
    """Return the snapshot that :func:`encode` has encoded."""
    budget, families = orjson.loads(text)
    return Snapshot(budget, {name: _family(parts) for name, parts in families.items()})


def _family(parts: Sequence[Any]) -> MetricFamily:
    kind, text, labels, multiprocess_mode, bounds, data = parts
    series: Mapping[LabelValues, Any] = {tuple(values): numbers for values, numbers in data}
    return MetricFamily(kind, text, tuple(labels), multiprocess_mode, tuple(bounds), dict(series))
