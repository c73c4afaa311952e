"""Metrics: declare counters, gauges and histograms, and record values.

A module declares an instrument once; its values belong to one application, so that two applications in one process are
independent. ``INSTRUMENT(request, *labels)`` returns a series in a handler of the application;
``context.get(TELEMETRY).series(INSTRUMENT, *labels)`` returns it to a plugin, which holds a reference. Without an
exporter (the metrics plugin) nothing is recorded.
"""

from scalekit.telemetry.instruments import (
    DEFAULT_BUCKETS,
    TELEMETRY,
    Alert,
    Counter,
    Gauge,
    Histogram,
    Instrument,
    catalogue,
    instruments_in,
)
from scalekit.telemetry.registry import NullTelemetry, Telemetry
from scalekit.telemetry.series import CounterSeries, GaugeSeries, HistogramSeries
from scalekit.telemetry.snapshot import LabelValues, MetricFamilies, MetricFamily
from scalekit.telemetry.spans import (
    CURRENT_SPAN,
    ApplicationSpan,
    Span,
    SpanKind,
    SpanRecord,
    SpanType,
    Trace,
    error_type,
    new_span_id,
    record_span,
    span,
)

__all__ = [
    "CURRENT_SPAN",
    "DEFAULT_BUCKETS",
    "TELEMETRY",
    "Alert",
    "ApplicationSpan",
    "Counter",
    "CounterSeries",
    "Gauge",
    "GaugeSeries",
    "Histogram",
    "HistogramSeries",
    "Instrument",
    "LabelValues",
    "MetricFamilies",
    "MetricFamily",
    "NullTelemetry",
    "Span",
    "SpanKind",
    "SpanRecord",
    "SpanType",
    "Telemetry",
    "Trace",
    "catalogue",
    "error_type",
    "instruments_in",
    "new_span_id",
    "record_span",
    "span",
]
