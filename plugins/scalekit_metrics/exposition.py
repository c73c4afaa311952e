"""Write metrics in the two text formats that Prometheus reads.

prometheus_client writes them too, from objects that it makes for each sample: tens of milliseconds for a page, which
every request waits for. Here a page is written piece by piece, so that the event loop can serve others in between.

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
"""The values of a last label that the families of summaries have here, since their numbers add up one by one."""

_HERE = "\0"
_NUMBERS = {"inf": "+Inf", "-inf": "-Inf", "nan": "NaN"}


class PrometheusFormat:
    """Prometheus's own format, version 0.0.4."""

    content_type = "text/plain; version=0.0.4; charset=utf-8"
    end = ""

    def heading(self, name: str, family: MetricFamily) -> str:
        """Return the lines above the samples of *family*."""
        name += "_total" if family.kind == "counter" else ""
        return f"# HELP {name} {_on_one_line(family.help)}\n# TYPE {name} {family.kind}\n"

    def example(self, example: Sequence[Any]) -> str:
        """Return what follows the count of a bucket: here nothing, since this format has no exemplars."""
        return ""


class OpenMetricsFormat(PrometheusFormat):
    """OpenMetrics 1.0, which has exemplars."""

    content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8"
    end = "# EOF\n"

    def heading(self, name: str, family: MetricFamily) -> str:
        """Return the lines above the samples of *family*."""
        return f"# HELP {name} {_quoted(family.help)}\n# TYPE {name} {family.kind}\n"

    def example(self, example: Sequence[Any]) -> str:
        """Return the exemplar of a bucket: trace id, value and time."""
        trace_id, value, moment = example
        return f' # {{trace_id="{_quoted(trace_id)}"}} {number(value)} {moment:.3f}'


def write(families: MetricFamilies, form: PrometheusFormat) -> Iterator[str]:
    """Yield the page of *families* piece by piece, each of whole lines."""
    for name, family in families.items():
        if family.data:
            yield form.heading(name, family)
            yield from _SAMPLES[family.kind](name, family, form)
    yield form.end


def number(value: float) -> str:
    """Return *value* as Go's ParseFloat reads it."""
    if type(value) is int:
        return str(value)
    text = repr(float(value))
    return _NUMBERS.get(text, text)


def _counter(name: str, family: MetricFamily, form: PrometheusFormat) -> Iterator[str]:
    return _gauge(f"{name}_total", family, form)


def _gauge(name: str, family: MetricFamily, form: PrometheusFormat) -> Iterator[str]:
    for values, value in family.data.items():
        yield f"{name}{_braces(_labels(family.labels, values))} {number(value)}\n"


def _histogram(name: str, family: MetricFamily, form: PrometheusFormat) -> Iterator[str]:
    bounds = [number(float(bound)) for bound in (*family.bounds, math.inf)]
    # One series differs from the next in its labels and counts only, so the rest is written once.
    buckets = "".join([f'{name}_bucket{{{_HERE}le="{bound}"}} %d\n' for bound in bounds])
    for values, (total, counts, examples) in family.data.items():
        labels = _labels(family.labels, values)
        lines = (buckets % tuple(accumulate(counts))).replace(_HERE, f"{labels}," if labels else "")
        if examples:
            lines = _with_examples(lines, examples, form)
        braces = _braces(labels)
        yield f"{lines}{name}_sum{braces} {number(total)}\n{name}_count{braces} {sum(counts)}\n"


def _with_examples(lines: str, examples: Mapping[str, Sequence[Any]], form: PrometheusFormat) -> str:
    each = lines.split("\n")
    for bucket, example in examples.items():
        each[int(bucket)] += form.example(example)
    return "\n".join(each)


def _summary(name: str, family: MetricFamily, form: PrometheusFormat) -> Iterator[str]:
    for (*values, part), value in family.data.items():
        yield f"{name}_{part}{_braces(_labels(family.labels[:-1], values))} {number(value)}\n"


def _labels(names: LabelValues, values: Sequence[str]) -> str:
    """Return the pairs of labels; one without a value is as good as none."""
    pairs = zip(names, values, strict=True)
    return ",".join([f'{name}="{_quoted(value)}"' for name, value in pairs if value])


def _on_one_line(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")


def _quoted(text: str) -> str:
    return _on_one_line(text).replace('"', r"\"")


def _braces(labels: str) -> str:
    return f"{{{labels}}}" if labels else ""


_SAMPLES: dict[str, Callable[[str, MetricFamily, PrometheusFormat], Iterator[str]]] = {
    "counter": _counter,
    "gauge": _gauge,
    "histogram": _histogram,
    "summary": _summary,
}
