from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator

import pytest
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Enum, Gauge, Histogram, Info, Metric, Summary
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from scalekit.telemetry.snapshot import MetricFamilies, Snapshot
from scalekit.telemetry.worker_totals import Totals
from scalekit_metrics.exposition import PrometheusFormat, write
from scalekit_metrics.metrics import NAMES
from scalekit_metrics.prometheus_client_bridge import PrometheusClientBridge
from tests.metrics.scrape_client import Samples, metrics_app, parse_samples, series_of
from tests.metrics.test_filters import application


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


class Custom:
    def __init__(self, *metrics: Metric) -> None:
        self.metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self.metrics


class Failing:
    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("half", "One of two.", value=1)
        raise OSError("it broke")


def exported(*workers: CollectorRegistry) -> Samples:
    totals = Totals()
    for number, registry in enumerate(workers, 1):
        totals.update(str(number), Snapshot(1000, families(registry)))
    return parse_samples("".join(write(totals.total().families, PrometheusFormat())))


def families(registry: CollectorRegistry) -> MetricFamilies:
    return PrometheusClientBridge(lambda: registry, NAMES).families()


def labels(**pairs: str) -> frozenset[tuple[str, str]]:
    return frozenset(pairs.items())


def test_every_kind_is_exported_and_added_up(registry: CollectorRegistry) -> None:
    Counter("orders", "Orders.", ["by"], registry=registry).labels("card").inc(3)
    Gauge("stock", "Stock.", registry=registry).set(2.5)
    Summary("took", "Took.", ["by"], registry=registry).labels("card").observe(4)
    histogram = Histogram("size", "Size.", ["by"], buckets=(1, 2, 5), registry=registry)
    for value in (0.5, 1.5, 1.7, 9):
        histogram.labels("card").observe(value)
    Info("build", "Build.", registry=registry).info({"version": "1"})
    Enum("mood", "Mood.", states=["good", "bad"], registry=registry).state("bad")
    samples = exported(registry, registry)
    assert samples == {
        ("orders_total", labels(by="card")): 6,
        ("stock", labels()): 5,
        ("took_sum", labels(by="card")): 8,
        ("took_count", labels(by="card")): 2,
        ("size_bucket", labels(by="card", le="1.0")): 2,
        ("size_bucket", labels(by="card", le="2.0")): 6,
        ("size_bucket", labels(by="card", le="5.0")): 6,
        ("size_bucket", labels(by="card", le="+Inf")): 8,
        ("size_sum", labels(by="card")): 2 * (0.5 + 1.5 + 1.7 + 9),
        ("size_count", labels(by="card")): 8,
        ("build_info", labels(version="1")): 1,
        ("mood", labels(mood="good")): 0,
        ("mood", labels(mood="bad")): 1,
    }


def test_one_worker_exports_the_same_samples_as_prometheus_client() -> None:
    expected = {
        (sample.name, frozenset(sample.labels.items()))
        for metric in REGISTRY.collect()
        for sample in metric.samples
        if not sample.name.endswith("_created")
    }
    assert set(exported(REGISTRY)) == expected


def test_aggregation_of_process_gauges(registry: CollectorRegistry) -> None:
    other = CollectorRegistry()
    for each, value in ((registry, 10.0), (other, 20.0)):
        names = ("process_start_time_seconds", "process_max_fds", "process_resident_memory_bytes")
        each.register(Custom(*(GaugeMetricFamily(name, "Of the process.", value=value) for name in names)))
    assert {name: value for (name, _), value in exported(registry, other).items()} == {
        "process_start_time_seconds": 10,
        "process_max_fds": 20,
        "process_resident_memory_bytes": 30,
    }


def test_counters_of_an_exited_worker_remain(registry: CollectorRegistry) -> None:
    Counter("orders", "Orders.", registry=registry).inc(3)
    Summary("took", "Took.", registry=registry).observe(4)
    totals = Totals()
    totals.update("1", Snapshot(1000, families(registry)))
    totals.mark_exited("1")
    samples = parse_samples("".join(write(totals.total().families, PrometheusFormat())))
    assert samples == {
        ("orders_total", labels()): 3,
        ("took_sum", labels()): 4,
        ("took_count", labels()): 1,
    }


def test_custom_collectors(registry: CollectorRegistry) -> None:
    mixed = CounterMetricFamily("mixed", "Mixed labels.")
    mixed.add_sample("mixed_total", {"a": "1"}, 1)
    mixed.add_sample("mixed_total", {"b": "2"}, 2)
    infinite = HistogramMetricFamily("infinite", "No sum.", buckets=[("1.0", 1), ("+Inf", 3)], sum_value=None)
    strange = GaugeMetricFamily("strange.name", "Strange.", labels=["a.b"])
    strange.add_metric(["c"], 1)
    registry.register(Custom(mixed, infinite, strange))
    assert exported(registry) == {
        ("mixed_total", labels(a="1")): 1,
        ("mixed_total", labels(b="2")): 2,
        ("infinite_bucket", labels(le="1.0")): 1,
        ("infinite_bucket", labels(le="+Inf")): 3,
        ("infinite_sum", labels()): 0,
        ("infinite_count", labels()): 3,
        ("strange_name", labels(a_b="c")): 1,
    }


def test_exemplars_of_histograms_are_exported(registry: CollectorRegistry) -> None:
    histogram = Histogram("size", "Size.", buckets=(1, 2), registry=registry)
    histogram.observe(1.5, {"trace_id": "abc"})
    histogram.observe(5, {"another": "abc"})
    ((_, counts, exemplars),) = families(registry)["size"].data.values()
    assert counts == [0, 1, 1]
    assert [exemplar[:2] for exemplar in exemplars.values()] == [["abc", 1.5]]
    assert list(exemplars) == ["1"]


def test_a_failing_collector_is_omitted_with_one_warning(
    registry: CollectorRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    registry.register(Failing())
    Gauge("stock", "Stock.", registry=registry).set(2)
    source = PrometheusClientBridge(lambda: registry, NAMES)
    with caplog.at_level(logging.WARNING, "scalekit"):
        for _ in range(3):
            assert list(source.families()) == ["stock"]
    (record,) = caplog.records
    assert "Failing" in record.getMessage()
    assert "it broke" in record.getMessage()


def test_a_reserved_name_is_omitted_with_one_warning(
    registry: CollectorRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    Histogram("http_request_duration_seconds", "Reserved.", ["handler"], registry=registry).labels("x").observe(1)
    Gauge("stock", "Stock.", registry=registry).set(2)
    source = PrometheusClientBridge(lambda: registry, NAMES)
    with caplog.at_level(logging.WARNING, "scalekit"):
        for _ in range(3):
            assert list(source.families()) == ["stock"]
    (record,) = caplog.records
    assert "http_request_duration_seconds" in record.getMessage()


@pytest.mark.anyio
async def test_process_gc_and_application_metrics_are_exported() -> None:
    orders = Counter("test_registry_orders", "Orders.", ["by"])
    try:
        orders.labels("card").inc(2)
        async with metrics_app(application()) as app:
            samples = await app.scrape()
    finally:
        REGISTRY.unregister(orders)
    assert samples["test_registry_orders_total", labels(by="card")] == 2
    assert samples["process_cpu_seconds_total", labels()] > 0
    assert samples["process_resident_memory_bytes", labels()] > 0
    assert series_of(samples, "python_gc_collections_total")
    assert series_of(samples, "python_info")
