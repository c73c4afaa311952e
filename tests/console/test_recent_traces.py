from __future__ import annotations

import pytest

from scalekit import Redactor, parse_trace_context
from scalekit.telemetry import Span, SpanKind, SpanRecord, SpanRedactor, SpanType, Trace
from scalekit_console.recent_traces import (
    FAILED,
    MAX_BYTES,
    MAX_FOUND,
    MAX_SPANS,
    MAX_TRACES,
    OTHER,
    SHOWN_CHARACTERS,
    SLOW,
    RecentTraces,
)
from scalekit_console.span_formatter import SpanFormatter

KIND = SpanType(SpanKind.SERVER, lambda name, attributes: name, lambda name, attributes: attributes)
FAULTY = SpanType(SpanKind.INTERNAL, lambda name, attributes: name, lambda name, attributes: attributes["missing"])


def recent() -> RecentTraces:
    return RecentTraces(SpanFormatter(SpanRedactor(Redactor())))


def trace(request_id: str = "r") -> Trace:
    return Trace(parse_trace_context([])._replace(request_id=request_id))


def record(of: Trace, name: object = "GET /", span_type: SpanType = KIND, **attributes: object) -> SpanRecord:
    return (None, span_type, 0.0, 1.0, (name, attributes), "", Span(of))


def keep(
    traces: RecentTraces, reason: str = "ratio", request_id: str = "r", name: str = "GET /", **attributes: object
) -> Trace:
    kept = trace(request_id)
    traces.keep(kept, reason)
    traces.add(kept, [(None, KIND, 0.0, 1.0, (name, attributes), "", Span(kept))])
    return kept


def test_each_group_keeps_its_newest() -> None:
    traces = recent()
    for number in range(MAX_TRACES + 10):
        for reason in (FAILED, SLOW, "ratio", "parent"):
            keep(traces, reason, str(number))
    found = traces.describe()
    assert {reason: sum(each["reason"] == reason for each in found) for reason in (FAILED, SLOW)} == {
        FAILED: MAX_TRACES,
        SLOW: MAX_TRACES,
    }
    assert len(found) == 3 * MAX_TRACES
    assert {each["request_id"] for each in found if each["reason"] == FAILED} == set(map(str, range(10, 60)))


@pytest.mark.parametrize("text", ["x" * 200_000, b"x" * 200_000, ["x" * 200_000], {"x": ("x" * 200_000,)}])
def test_memory_of_large_values_is_bounded(text: object) -> None:
    traces = recent()
    for _ in range(MAX_TRACES):
        for reason in (FAILED, SLOW, OTHER):
            keep(traces, reason, note=text)
    assert 0 < len(traces.describe()) <= MAX_BYTES // 200_000
    assert len(traces._by_trace) == len(traces.describe())


def test_a_trace_above_the_bound_alone_is_not_kept() -> None:
    traces = recent()
    keep(traces, FAILED, note="x" * (MAX_BYTES + 1))
    assert traces.describe() == []
    keep(traces, FAILED)
    assert len(traces.describe()) == 1


def test_late_spans_follow_up_to_the_bound_unless_the_trace_is_forgotten() -> None:
    traces = recent()
    kept = keep(traces)
    for number in range(MAX_SPANS + 10):
        traces.add(kept, [record(kept, f"late {number}")])
    traces.add(trace(), [record(kept)])
    (found,) = traces.find("r")
    assert len(found["spans"]) == MAX_SPANS
    assert found["spans"][1]["name"] == "late 0"


def test_traces_are_found_by_trace_id_and_request_id() -> None:
    traces = recent()
    one, _ = keep(traces, request_id="a"), keep(traces, request_id="b")
    assert [each["request_id"] for each in traces.find(one.context.trace_id)] == ["a"]
    assert [each["request_id"] for each in traces.find("b")] == ["b"]
    assert traces.find("") == traces.find("c") == []
    for _ in range(MAX_FOUND + 5):
        keep(traces, request_id="c")
    assert len(traces.find("c")) == MAX_FOUND


def test_attributes_beyond_the_bound_are_left_out() -> None:
    traces = recent()
    kept = keep(traces)
    traces.add(kept, [record(kept, note="x" * 10_000) for _ in range(100)])
    (found,) = traces.find("r")
    assert found["cut"]
    assert len(str(found)) < 2 * SHOWN_CHARACTERS
    assert len(found["spans"]) == 101


def test_secrets_and_texts_that_cannot_be_encoded_are_replaced() -> None:
    traces = recent()
    keep(traces, name="\ud800", password="hunter2", note="password=hunter2", pairs=[("token", "hunter2")], n=1 << 80)
    (found,) = traces.find("r")
    assert "hunter2" not in str(found)
    assert found["name"] == "?"
    assert found["spans"][0]["attributes"]["n"] == str(1 << 80)


def test_spans_of_a_faulty_type_are_left_out() -> None:
    traces = recent()
    kept = keep(traces)
    traces.add(kept, [record(kept, span_type=FAULTY), record(kept, "fine")])
    (found,) = traces.find("r")
    assert [span["name"] for span in found["spans"]] == ["GET /", "fine"]
