"""Metrics and spans.

Metrics: declare counters, gauges and histograms, and record values.

A module declares an instrument once; its values belong to one application, so that two applications in one process are
independent. ``INSTRUMENT(request, *labels)`` returns a series in a handler of the application;
``context.get(TELEMETRY).series(INSTRUMENT, *labels)`` returns it to a plugin, which holds a reference. Without an
exporter (the metrics plugin) nothing is recorded.

Spans: declare a SpanType and call ``record_span``; an application writes ``with span("price", sku=7):``. Without the
plugin ``tracing`` nothing is recorded.
"""

from scalekit.telemetry.application_span import ApplicationSpan, UnrecordedSpan, span
from scalekit.telemetry.attributes import MAX_ATTRIBUTES, MAX_TEXT, Attributes, text_of
from scalekit.telemetry.finished_span import FinishedSpan, SpanEvent, SpanLink, finished_spans
from scalekit.telemetry.instruments import (
    DEFAULT_BUCKETS,
    TELEMETRY,
    Alert,
    Counter,
    Gauge,
    Histogram,
    Instrument,
    Share,
    catalogue,
    instruments_in,
)
from scalekit.telemetry.quantiles import histogram_quantile, quantile
from scalekit.telemetry.registry import NullTelemetry, Telemetry
from scalekit.telemetry.series import CounterSeries, GaugeSeries, HistogramSeries
from scalekit.telemetry.snapshot import LabelValues, MetricFamilies, MetricFamily
from scalekit.telemetry.span_redactor import SpanRedactor
from scalekit.telemetry.spans import (
    CURRENT_SPAN,
    Span,
    SpanKind,
    SpanRecord,
    SpanType,
    Trace,
    error_type,
    new_span_id,
    record_span,
)
from scalekit.telemetry.trace_tree import trace_tree

__all__ = [
    "CURRENT_SPAN",
    "DEFAULT_BUCKETS",
    "MAX_ATTRIBUTES",
    "MAX_TEXT",
    "TELEMETRY",
    "Alert",
    "ApplicationSpan",
    "Attributes",
    "Counter",
    "CounterSeries",
    "FinishedSpan",
    "Gauge",
    "GaugeSeries",
    "Histogram",
    "HistogramSeries",
    "Instrument",
    "LabelValues",
    "MetricFamilies",
    "MetricFamily",
    "NullTelemetry",
    "Share",
    "Span",
    "SpanEvent",
    "SpanKind",
    "SpanLink",
    "SpanRecord",
    "SpanRedactor",
    "SpanType",
    "Telemetry",
    "Trace",
    "UnrecordedSpan",
    "catalogue",
    "error_type",
    "finished_spans",
    "histogram_quantile",
    "instruments_in",
    "new_span_id",
    "quantile",
    "record_span",
    "span",
    "text_of",
    "trace_tree",
]
