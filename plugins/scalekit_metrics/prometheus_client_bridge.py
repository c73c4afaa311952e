"""Export the metrics of a prometheus_client registry: process, garbage collection, and the application's own.

It converts them to metric families, so that they are aggregated over workers like all others.
"""

from __future__ import annotations

import importlib.util
import logging
import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from scalekit.telemetry import LabelValues, MetricFamilies, MetricFamily
from scalekit_metrics.exposition import SUMMARY_PARTS

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Metric
    from prometheus_client.samples import Sample

logger = logging.getLogger("scalekit")

MULTIPROCESS_MODES = {"process_start_time_seconds": "min", "process_max_fds": "max", "python_info": "max"}
"""Aggregation over workers of gauges that are not added up."""

_INVALID_CHARACTER = re.compile(r"[^a-zA-Z0-9_:]")


def default_registry() -> CollectorRegistry:
    """Return the default registry of prometheus_client; the first call imports it."""
    from prometheus_client import REGISTRY

    return REGISTRY


def verify_library(workers: int) -> None:
    """Raise ModuleNotFoundError when prometheus_client is not installed.

    With *workers*, import it before they are forked, so that they share its memory; else it is imported at first use.
    """
    if workers:
        importlib.import_module("prometheus_client")
    elif importlib.util.find_spec("prometheus_client") is None:
        raise ModuleNotFoundError("No module named 'prometheus_client'", name="prometheus_client")


class PrometheusClientBridge:
    """Converts the metrics of the registry from *get_registry*, except those with a *reserved* name."""

    def __init__(self, get_registry: Callable[[], CollectorRegistry], reserved: Collection[str]) -> None:
        self._get_registry = get_registry
        self._reserved = reserved
        self._warned: set[object] = set()

    def families(self) -> MetricFamilies:
        """Return the current values; a collector that fails or has a reserved name is omitted, with one warning."""
        families: MetricFamilies = {}
        for metric in self._metrics():
            for name, family in _CONVERTERS.get(metric.type, _gauge_by_sample_name)(metric):
                if name in self._reserved:
                    self._warn(name, "prometheus_client metric %s omitted: the name is reserved; rename it", name)
                elif family.data:
                    families[name] = family
        return families

    def _metrics(self) -> Iterator[Metric]:
        # CollectorRegistry.collect() stops at the first collector that fails.
        for collector in list(self._get_registry()._collector_to_names):
            try:
                yield from list(collector.collect())
            except Exception as error:
                self._warn(collector, "metrics of the collector %r omitted: %r", collector, error)

    def _warn(self, subject: object, message: str, *arguments: object) -> None:
        if subject not in self._warned:
            self._warned.add(subject)
            logger.warning(message, *arguments)


def _counter(metric: Metric) -> Iterator[tuple[str, MetricFamily]]:
    samples = [sample for sample in metric.samples if sample.name.endswith("_total")]
    yield _name(metric.name), _family("counter", metric, samples)


def _gauge(metric: Metric) -> Iterator[tuple[str, MetricFamily]]:
    yield _name(metric.name), _family("gauge", metric, metric.samples)


def _summary(metric: Metric) -> Iterator[tuple[str, MetricFamily]]:
    """Yield sum and count; quantiles cannot be aggregated over workers."""
    parts = [(sample, sample.name.removeprefix(f"{metric.name}_")) for sample in metric.samples]
    samples = [
        sample._replace(labels={**sample.labels, "part": part}) for sample, part in parts if part in SUMMARY_PARTS
    ]
    yield _name(metric.name), _family("summary", metric, samples, last="part")


def _histogram(metric: Metric) -> Iterator[tuple[str, MetricFamily]]:
    buckets = [sample for sample in metric.samples if sample.name.endswith("_bucket")]
    bounds = sorted({math.inf, *(float(sample.labels["le"]) for sample in buckets)})
    family = _family("histogram", metric, [])
    family.bounds = tuple(bounds[:-1])
    names = family.labels = _label_names(metric.samples, without="le")
    sums = {_values(names, sample): sample.value for sample in metric.samples if sample.name.endswith("_sum")}
    for sample in sorted(buckets, key=lambda each: float(each.labels["le"])):
        values = _values(names, sample)
        _, counts, exemplars = family.data.setdefault(values, [sums.get(values, 0), [0] * len(bounds), {}])
        bucket = bounds.index(float(sample.labels["le"]))
        counts[bucket] = int(sample.value) - sum(counts)
        exemplar = sample.exemplar
        if exemplar is not None and exemplar.timestamp is not None and "trace_id" in exemplar.labels:
            exemplars[str(bucket)] = [exemplar.labels["trace_id"], exemplar.value, float(exemplar.timestamp)]
    yield _name(metric.name), family


def _gauge_by_sample_name(metric: Metric) -> Iterator[tuple[str, MetricFamily]]:
    """Yield a gauge for each sample name, as the text format 0.0.4 represents all other kinds."""
    for name in dict.fromkeys(sample.name for sample in metric.samples):
        family = _family("gauge", metric, [sample for sample in metric.samples if sample.name == name])
        family.multiprocess_mode = "max" if metric.type in ("info", "stateset") else "sum"
        yield _name(name), family


_CONVERTERS: dict[str, Callable[[Metric], Iterator[tuple[str, MetricFamily]]]] = {
    "counter": _counter,
    "gauge": _gauge,
    "summary": _summary,
    "histogram": _histogram,
}


def _family(kind: str, metric: Metric, samples: Iterable[Sample], last: str = "") -> MetricFamily:
    samples = list(samples)
    names = _label_names(samples, without=last) + ((last,) if last else ())
    data: dict[LabelValues, Any] = {_values(names, sample): sample.value for sample in samples}
    multiprocess_mode = MULTIPROCESS_MODES.get(metric.name, "sum")
    return MetricFamily(kind, metric.documentation, tuple(map(_name, names)), multiprocess_mode, (), data)


def _label_names(samples: Iterable[Sample], without: str) -> LabelValues:
    return tuple(dict.fromkeys(name for sample in samples for name in sample.labels if name != without))


def _values(names: LabelValues, sample: Sample) -> LabelValues:
    return tuple(sample.labels.get(name, "") for name in names)


def _name(name: str) -> str:
    return _INVALID_CHARACTER.sub("_", name)
