"""The printed tree of a trace."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hypothesis import given
from hypothesis import strategies as st

from scalekit import Redactor
from scalekit.telemetry import FinishedSpan, SpanEvent, SpanKind, SpanLink, SpanRedactor
from scalekit.telemetry import trace_tree as masked_tree
from scalekit.telemetry.trace_tree import MAX_EVENT_ATTRIBUTES, own_time


def finished(name: str, began: int, ended: int, parent: str = "", **more: object) -> FinishedSpan:
    base = FinishedSpan("1" * 32, name, parent, 1, "", name, SpanKind.INTERNAL, began, ended, {}, "")
    return base._replace(**more)  # type: ignore[arg-type] # fields of FinishedSpan


def trace_tree(spans: Sequence[FinishedSpan]) -> Iterator[str]:
    return masked_tree(spans, SpanRedactor(Redactor()))


def test_a_tree() -> None:
    spans = [
        finished("second", 4_000_000, 9_000_000, "root", error="KeyError"),
        finished("third", 9_500_000, 10_000_000, "root", error="KeyError", error_message="KeyError: 'sku'"),
        finished("root", 0, 10_000_000, "remote", attributes={"route": "/"}),
        finished("below", 1_500_000, 2_000_000, "first", links=[SpanLink("2" * 32, "3" * 16)]),
        finished("first", 1_000_000, 3_000_000, "root", events=[SpanEvent("noted", 0, {"x": 1})]),
    ]
    assert [line.replace("  own", " own") for line in trace_tree(spans)] == [
        "root                                                10.000 ms own     2.500 ms",
        "│  route=/",
        "├─ first                                             2.000 ms own     1.500 ms",
        "│  │  * noted x=1",
        "│  └─ below                                          0.500 ms own     0.500 ms",
        f"│        linked to span {'3' * 16} of trace {'2' * 32}",
        "├─ second                                            5.000 ms own     5.000 ms  failed: KeyError",
        "└─ third                                             0.500 ms own     0.500 ms  failed: KeyError: 'sku'",
    ]


def test_attributes_are_packed_without_those_that_the_name_tells() -> None:
    attributes = {
        "db.system.name": "sqlite",
        "db.query.text": "SELECT sold FROM stock WHERE id = ? AND name = ?",
        "db.query.summary": "SELECT stock",
        "db.operation.name": "SELECT",
        "db.collection.name": "stock",
        "db.response.returned_rows": 1,
        "error.type": "KeyError",
    }
    (_, *lines) = trace_tree([finished("SELECT stock", 0, 1, attributes=attributes, error="KeyError")])
    assert lines == [
        "   db.system.name=sqlite  db.query.text=SELECT sold FROM stock WHERE id = ? AND name = ?",
        "   db.response.returned_rows=1",
    ]


class Unprintable:
    def __str__(self) -> str:
        raise ValueError


def test_values_cannot_control_the_terminal() -> None:
    odd = {"escape": "\x1b[31mred\r\nline", "long": "x" * 500, "unprintable": Unprintable()}
    lines = list(trace_tree([finished("root", 0, 1, attributes=odd)]))
    assert lines[1:] == ["   escape=?[31mred line", f"   long={'x' * 199}…", "   unprintable=<Unprintable: ValueError>"]


def test_secrets_are_masked_before_values_are_cut() -> None:
    values = {
        "password": "s3cr3t",
        "text": "x" * 190 + " token=s3cr3t",
        "pairs": [("api_key", "s3cr3t")],
        "number": 10**5000,
    }
    lines = list(
        trace_tree([finished("pwd=s3cr3t", 0, 1, attributes=values, events=[SpanEvent("token=s3cr3t", 0, values)])])
    )
    assert len(lines) == 5
    assert "s3cr" not in str(lines)


def test_secrets_in_the_message_of_an_error_are_masked() -> None:
    (line,) = trace_tree([finished("root", 0, 1, error="ValueError", error_message="ValueError: token=s3cr3t")])
    assert line.endswith("failed: ValueError: token=***")


def test_the_type_of_an_error_may_be_an_attribute() -> None:
    (line,) = trace_tree([finished("root", 0, 1, error="_OTHER", attributes={"error.type": "KeyError"})])
    assert line.endswith("failed: KeyError")


def test_attributes_of_an_event_are_bounded() -> None:
    event = SpanEvent("noted", 0, {f"key{number}": number for number in range(100)})
    (_, line) = trace_tree([finished("root", 0, 1, events=[event])])
    assert line.count("=") == MAX_EVENT_ATTRIBUTES


def test_names_cannot_control_the_terminal() -> None:
    odd = "\x1b[31m\n"
    event = SpanEvent(odd, 0, {odd: 1})
    lines = list(trace_tree([finished(f"GET /{odd}", 0, 1, attributes={odd: 1}, events=[event], error=odd)]))
    assert len(lines) == 3
    assert all(line.isprintable() for line in lines)


def test_spans_may_be_nested_deeply() -> None:
    deep = [finished(str(depth), depth, 10_000 - depth, str(depth - 1)) for depth in range(2000)]
    assert len(list(trace_tree(deep))) == 2000


intervals = st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100)).map(sorted), max_size=6)


@given(intervals)
def test_own_time_is_the_time_without_children(children: list[list[int]]) -> None:
    parent = finished("parent", 20, 80)
    below = sorted((finished("child", began, ended, "parent") for began, ended in children), key=lambda each: each[7])
    busy = {moment for began, ended in children for moment in range(began, ended)}
    assert own_time(parent, below) == len(set(range(20, 80)) - busy)
