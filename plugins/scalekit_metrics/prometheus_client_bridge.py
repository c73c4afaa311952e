"""Export the metrics of a prometheus_client registry: process, garbage collection, and the application's own.

Only the form is changed here, so that these numbers travel and add up as all others do.
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

OVER_WORKERS = {"process_start_time_seconds": "min", "process_max_fds": "max", "python_info": "max"}
"""What gauges of workers make together, where it is not their sum."""

_UNFIT = re.compile(r"[^a-zA-Z0-9_:]")


def default_registry() -> CollectorRegistry:
    """Return the registry of prometheus_client that everything is in which names none; the first call imports it."""
    from prometheus_client import REGISTRY

    return REGISTRY


def verify_library(workers: int) -> None:
    """Raise ModuleNotFoundError when prometheus_client is not there.

    It is imported where *workers* tell their numbers all the time: before they are forked, since they then share it.
    """
    if workers:
        importlib.import_module("prometheus_client")
    elif importlib.util.find_spec("prometheus_client") is None:
        raise ModuleNotFoundError("No module named 'prometheus_client'", name="prometheus_client")


class PrometheusClientBridge:
    """The metrics of the registry that *find* returns, but none by a *reserved* name."""

    def __init__(self, find: Callable[[], CollectorRegistry], reserved: Collection[str]) -> None:
        self._find = find
        self._reserved = reserved
        self._warned: set[object] = set()

    def families(self) -> MetricFamilies:
        """Return the numbers of now; a collector that fails, or takes a reserved name, is left out and told of once."""
        found: MetricFamilies = {}
        for metric in self._metrics():
            for name, family in _CONVERTED.get(metric.type, _each_sample)(metric):
                if name in self._reserved:
                    self._warn(name, "metric %s of prometheus_client is left out: ScaleKit has one of that name", name)
                elif family.data:
                    found[name] = family
        return found

    def _metrics(self) -> Iterator[Metric]:
        # Not by the registry's own collect(), in which the first that fails hides those after it.
        for collector in list(self._find()._collector_to_names):
            try:
                yield from list(collector.collect())
            except Exception as error:
                self._warn(collector, "the metrics of %r are left out: %r", collector, error)

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
    """Yield sum and count; quantiles of several workers cannot be put together."""
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
        _, counts, examples = family.data.setdefault(values, [sums.get(values, 0), [0] * len(bounds), {}])
        place = bounds.index(float(sample.labels["le"]))
        counts[place] = int(sample.value) - sum(counts)
        example = sample.exemplar
        if example is not None and example.timestamp is not None and "trace_id" in example.labels:
            examples[str(place)] = [example.labels["trace_id"], example.value, float(example.timestamp)]
    yield _name(metric.name), family


def _each_sample(metric: Metric) -> Iterator[tuple[str, MetricFamily]]:
    """Yield a gauge for each name of a sample: what other kinds are in the older of the formats."""
    for name in dict.fromkeys(sample.name for sample in metric.samples):
        family = _family("gauge", metric, [sample for sample in metric.samples if sample.name == name])
        family.multiprocess_mode = "max" if metric.type in ("info", "stateset") else "sum"
        yield _name(name), family


_CONVERTED: dict[str, Callable[[Metric], Iterator[tuple[str, MetricFamily]]]] = {
    "counter": _counter,
    "gauge": _gauge,
    "summary": _summary,
    "histogram": _histogram,
}


def _family(kind: str, metric: Metric, samples: Iterable[Sample], last: str = "") -> MetricFamily:
    samples = list(samples)
    names = _label_names(samples, without=last) + ((last,) if last else ())
    data: dict[LabelValues, Any] = {_values(names, sample): sample.value for sample in samples}
    multiprocess_mode = OVER_WORKERS.get(metric.name, "sum")
    return MetricFamily(kind, metric.documentation, tuple(map(_name, names)), multiprocess_mode, (), data)


def _label_names(samples: Iterable[Sample], without: str) -> LabelValues:
    return tuple(dict.fromkeys(name for sample in samples for name in sample.labels if name != without))


def _values(names: LabelValues, sample: Sample) -> LabelValues:
    return tuple(sample.labels.get(name, "") for name in names)


def _name(name: str) -> str:
    return _UNFIT.sub("_", name)
