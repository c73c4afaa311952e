"""Write metrics in the two text formats that Prometheus reads.

prometheus_client writes them too, but creates objects for each sample and blocks the event loop for tens of
milliseconds. Here the text is produced in pieces, so that the caller can return to the event loop in between.

https://prometheus.io/docs/instrumenting/exposition_formats/ and
https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetricsFormat.md
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

from scalekit.telemetry import LabelValues, MetricFamilies, MetricFamily

SUMMARY_PARTS = ("sum", "count")
"""Values of the last label of a summary's family: sum and count are separate values, since both add up."""

_LABELS = "\0"
"""Placeholder for the labels of a series in the template of its buckets."""
_SPECIAL_VALUES = {"inf": "+Inf", "-inf": "-Inf", "nan": "NaN"}


class PrometheusFormat:
    """Text format of Prometheus, version 0.0.4."""

    content_type = "text/plain; version=0.0.4; charset=utf-8"
    end = ""

    def header(self, name: str, family: MetricFamily) -> str:
        """Return the HELP and TYPE lines of *family*."""
        name += "_total" if family.kind == "counter" else ""
        return f"# HELP {name} {_escape_help(family.help)}\n# TYPE {name} {family.kind}\n"

    def exemplar(self, exemplar: Sequence[Any]) -> str:
        """Return an empty text: this format has no exemplars."""
        return ""


class OpenMetricsFormat(PrometheusFormat):
    """Text format of OpenMetrics 1.0, which has exemplars."""

    content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8"
    end = "# EOF\n"

    def header(self, name: str, family: MetricFamily) -> str:
        """Return the HELP and TYPE lines of *family*."""
        return f"# HELP {name} {_escape(family.help)}\n# TYPE {name} {family.kind}\n"

    def exemplar(self, exemplar: Sequence[Any]) -> str:
        """Return *exemplar*: trace id, value, and Unix time in seconds."""
        trace_id, value, timestamp = exemplar
        return f' # {{trace_id="{_escape(trace_id)}"}} {format_number(value)} {timestamp:.3f}'


def write(families: MetricFamilies, text_format: PrometheusFormat) -> Iterator[str]:
    """Yield *families* in *text_format* in pieces of complete lines."""
    for name, family in families.items():
        if family.data:
            yield text_format.header(name, family)
            yield from _SAMPLES[family.kind](name, family, text_format)
    yield text_format.end


def format_number(value: float) -> str:
    """Return *value* in the notation of Go's ``strconv.ParseFloat``."""
    if type(value) is int:
        return str(value)
    text = repr(float(value))
    return _SPECIAL_VALUES.get(text, text)


def _counter(name: str, family: MetricFamily, text_format: PrometheusFormat) -> Iterator[str]:
    return _gauge(f"{name}_total", family, text_format)


def _gauge(name: str, family: MetricFamily, text_format: PrometheusFormat) -> Iterator[str]:
    for values, value in family.data.items():
        yield f"{name}{_braces(_labels(family.labels, values))} {format_number(value)}\n"


def _histogram(name: str, family: MetricFamily, text_format: PrometheusFormat) -> Iterator[str]:
    bounds = [format_number(float(bound)) for bound in (*family.bounds, math.inf)]
    # Series differ only in labels and counts, so the template of the buckets is built once.
    template = "".join([f'{name}_bucket{{{_LABELS}le="{bound}"}} %d\n' for bound in bounds])
    for values, (total, counts, exemplars) in family.data.items():
        labels = _labels(family.labels, values)
        lines = (template % tuple(accumulate(counts))).replace(_LABELS, f"{labels}," if labels else "")
        if exemplars:
            lines = _add_exemplars(lines, exemplars, text_format)
        braces = _braces(labels)
        yield f"{lines}{name}_sum{braces} {format_number(total)}\n{name}_count{braces} {sum(counts)}\n"


def _add_exemplars(text: str, exemplars: Mapping[str, Sequence[Any]], text_format: PrometheusFormat) -> str:
    lines = text.split("\n")
    for bucket, exemplar in exemplars.items():
        lines[int(bucket)] += text_format.exemplar(exemplar)
    return "\n".join(lines)


def _summary(name: str, family: MetricFamily, text_format: PrometheusFormat) -> Iterator[str]:
    for (*values, part), value in family.data.items():
        yield f"{name}_{part}{_braces(_labels(family.labels[:-1], values))} {format_number(value)}\n"


def _labels(names: LabelValues, values: Sequence[str]) -> str:
    """Return the labels with a value: for Prometheus an empty label equals a missing one."""
    pairs = zip(names, values, strict=True)
    return ",".join([f'{name}="{_escape(value)}"' for name, value in pairs if value])


def _escape_help(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")


def _escape(text: str) -> str:
    return _escape_help(text).replace('"', r"\"")


def _braces(labels: str) -> str:
    return f"{{{labels}}}" if labels else ""


_SAMPLES: dict[str, Callable[[str, MetricFamily, PrometheusFormat], Iterator[str]]] = {
    "counter": _counter,
    "gauge": _gauge,
    "histogram": _histogram,
    "summary": _summary,
}
