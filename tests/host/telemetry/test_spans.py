"""Recording spans: trees over tasks and threads, bounds, and the end of a trace."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import weakref
from collections import Counter
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalekit import parse_trace_context
from scalekit.telemetry import (
    CURRENT_SPAN,
    Span,
    SpanKind,
    SpanRecord,
    SpanType,
    Trace,
    finished_spans,
    new_span_id,
    record_span,
    span,
)
from scalekit.telemetry.attributes import (
    ATTRIBUTE_SIZE,
    MAX_ATTRIBUTES,
    MAX_COPIED_TEXT,
    copied_attributes,
    size_of,
)
from scalekit.telemetry.span_details import MAX_EVENTS
from scalekit.telemetry.spans import MAX_FAILED_SPANS, MAX_ORDINARY_SPANS, MAX_SPANS, MAX_TRACE_SIZE
from tests.recorded_spans import recorded_spans

pytestmark = pytest.mark.anyio

NAMED = SpanType(SpanKind.CLIENT, lambda name: name, lambda name: {"name": name})


def test_nothing_is_recorded_without_a_trace() -> None:
    assert CURRENT_SPAN.get() is None
    record_span(NAMED, 0.0, ("a",))
    with span("b", x=1) as own:
        own.event("c")
        own.set(y=2)
        assert CURRENT_SPAN.get() is None


async def test_spans_of_tasks_and_threads_are_below_the_span_that_started_them() -> None:
    with recorded_spans() as spans:

        async def work(name: str) -> None:
            with span(name):
                await asyncio.sleep(0)
                record_span(NAMED, 0.0, (f"query {name}",))

        with span("both"):
            await asyncio.gather(work("one"), work("two"))
            await asyncio.to_thread(lambda: record_span(NAMED, 0.0, ("in thread",)))
        assert spans["both"].parent_id == spans.root.span_id
        for name in ("one", "two"):
            assert spans[name].parent_id == spans["both"].span_id
            assert spans[f"query {name}"].parent_id == spans[name].span_id
        assert spans["in thread"].parent_id == spans["both"].span_id
        assert CURRENT_SPAN.get() is spans.root


def test_an_error_is_recorded_and_raised() -> None:
    with recorded_spans() as spans:
        with pytest.raises(KeyError), span("broken"):
            raise KeyError("x")
        assert spans["broken"].error == "KeyError"
        assert spans["broken"].attributes == {"error.type": "KeyError"}


async def test_a_generator_that_another_context_closes() -> None:
    with recorded_spans() as spans:

        def numbers() -> Generator[int, None, None]:
            with span("generator"):
                yield 1

        generator = numbers()
        copy_context().run(lambda: next(generator))
        generator.close()
        assert "generator" in spans.names()
        assert CURRENT_SPAN.get() is spans.root


def test_spans_of_a_trace_are_bounded_also_from_threads() -> None:
    with recorded_spans() as spans:

        def record(number: int) -> None:
            for _ in range(MAX_SPANS):
                spans.root.record(NAMED, 0.0, (str(number),))

        with ThreadPoolExecutor(4) as threads:
            list(threads.map(record, range(4)))
        assert len(spans.root.trace.records) <= MAX_SPANS + 4
        assert len(spans.root.trace.records) + spans.root.trace.dropped == 4 * MAX_SPANS


def test_spans_that_failed_or_enclose_others_are_recorded_above_the_bound() -> None:
    with recorded_spans() as spans:
        with span("outermost"), span("outer"):
            for _ in range(MAX_ORDINARY_SPANS + 100):
                with span("item"):
                    pass
            for _ in range(MAX_SPANS):
                with contextlib.suppress(KeyError), span("around"), span("failed"):
                    raise KeyError
        names = Counter(spans.names())
        failed = MAX_FAILED_SPANS - MAX_ORDINARY_SPANS
        assert names == {
            "item": MAX_ORDINARY_SPANS,
            "failed": failed // 2,
            "around": failed // 2,
            "outer": 1,
            "outermost": 1,
        }
        assert spans.root.trace.dropped == 100 + 2 * MAX_SPANS - failed
        ids = {each.span_id for each in spans.all()} | {spans.root.span_id}
        assert all(each.parent_id in ids for each in spans.all())


def test_enclosing_spans_are_bounded() -> None:
    with recorded_spans() as spans, contextlib.ExitStack() as stack:
        for number in range(2 * MAX_SPANS):
            stack.enter_context(span(str(number)))
        stack.close()
        assert len(spans.root.trace.records) == MAX_SPANS - 1
        assert spans.root.trace.dropped == MAX_SPANS + 1


def test_late_spans_are_bounded() -> None:
    with recorded_spans() as spans:
        late: list[SpanRecord] = []
        record_span(NAMED, 0.0, ("in time",))
        spans.root.trace.close(lambda trace, record: late.append(record))
        for _ in range(2 * MAX_SPANS):
            record_span(NAMED, 0.0, ("late",))
        assert len(late) == MAX_SPANS - 2


def test_late_spans_are_passed_on_or_discarded() -> None:
    with recorded_spans() as spans:
        late: list[SpanRecord] = []
        record_span(NAMED, 0.0, ("in time",))
        in_time = spans.root.trace.close(lambda trace, record: late.append(record))
        assert [each[4] for each in in_time] == [("in time",)]
        record_span(NAMED, 0.0, ("late",))
        assert [each[4] for each in late] == [("late",)]
        spans.root.trace.close()
        record_span(NAMED, 0.0, ("later",))
        assert len(late) == 1
        assert spans.root.trace.records == []


def test_ids_are_unique_also_after_a_fork() -> None:
    ids = {new_span_id() for _ in range(1000)}
    assert len(ids) == 1000
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, new_span_id().encode())
        os._exit(0)
    os.waitpid(child, 0)
    inherited = os.read(reader, 16).decode()
    os.close(reader)
    os.close(writer)
    assert inherited not in {new_span_id() for _ in range(200)}


@given(st.floats(0, 1e6), st.floats(0, 1e3))
def test_times_are_those_of_the_epoch(began: float, seconds: float) -> None:
    trace = Trace(parse_trace_context([]))
    record: SpanRecord = (None, NAMED, began, began + seconds, ("a",), "", "")
    (found,) = finished_spans(trace, [record], 1_000_000.0)
    assert abs(found.began_ns - (1_000_000.0 + began) * 1e9) < 1e6
    assert found.ended_ns - found.began_ns >= 0


class Thing:
    """An object of the application."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        if not self.text:
            raise ValueError
        return self.text


def test_attributes_are_those_at_the_end_of_the_span() -> None:
    with recorded_spans() as spans:
        endless: list[object] = [1]
        endless.append(endless)
        values, thing = [1, 2], Thing("thing")
        with span("own", values=values, thing=thing, broken=Thing(""), endless=endless, long="x" * 100_000) as own:
            own.set(none=None, odd={"a": 1}, raw=b"x")
            own.event("event", thing=thing)
        values.append(3)
        thing.text = "changed"
        own.set(late=True)
        found = spans["own"].attributes
        assert found.pop("long") == "x" * MAX_COPIED_TEXT
        assert found == {
            "values": (1, 2),
            "thing": "thing",
            "broken": "<Thing: ValueError>",
            "endless": (1, "[1, [...]]"),
            "none": "None",
            "odd": "{'a': 1}",
            "raw": "b'x'",
        }
        assert [each.attributes for each in spans["own"].events] == [{"thing": "thing"}]


class Lazy(list[int]):
    """A list of the application that cannot load its items."""

    def __getitem__(self, place: object) -> Any:
        raise ConnectionError


def test_a_sequence_that_fails_does_not_fail_the_application() -> None:
    with recorded_spans() as spans:
        with span("own", items=Lazy([1])):
            pass
        assert spans["own"].attributes == {"items": "<Lazy: ConnectionError>"}


values = st.text(max_size=100) | st.integers() | st.binary(max_size=20) | st.lists(st.text(max_size=20), max_size=5)


@given(st.dictionaries(st.text(max_size=10), values, max_size=2 * MAX_ATTRIBUTES), st.integers(0, 10_000))
def test_copied_attributes_are_bounded(attributes: dict[str, Any], max_size: int) -> None:
    copied = copied_attributes(attributes, max_size)
    dropped = copied.pop("scalekit.dropped_attributes", 0)
    assert len(copied) + dropped == len(attributes)
    assert len(copied) + bool(dropped) <= MAX_ATTRIBUTES
    assert size_of(copied) <= max_size
    if not dropped:
        assert list(copied) == list(attributes)


def test_the_texts_of_a_trace_are_bounded() -> None:
    with recorded_spans() as spans:
        trace = spans.root.trace
        for number in range(2 * MAX_TRACE_SIZE // MAX_COPIED_TEXT):
            with span("own", text="x" * MAX_COPIED_TEXT, number=number) as own:
                own.event("event", text="y" * 100)
        assert MAX_TRACE_SIZE * 0.9 < trace.size < MAX_TRACE_SIZE * 1.1
        texts = sum(len(str(each.attributes)) + len(str(each.events)) for each in spans.all())
        assert texts < 1.2 * MAX_TRACE_SIZE
        assert spans.all()[-1].attributes == {"scalekit.dropped_attributes": 2}
        with span("n" * MAX_COPIED_TEXT):
            pass
        assert len(spans.names()[-1]) < 100


def test_removed_events_do_not_count() -> None:
    with recorded_spans() as spans, span("own") as own:
        for _ in range(10 * MAX_EVENTS):
            own.event("event", text="y" * 1000, tags=["a"], many=Thing("thing"))
        assert 1000 * MAX_EVENTS < spans.root.trace.size < MAX_EVENTS * (1100 + 4 * ATTRIBUTE_SIZE)


def test_a_span_begins_and_ends_once() -> None:
    with recorded_spans() as spans:
        own = span("own", place=1)
        with own, span("child"):
            with own, span("inner"):
                pass
            own.set(place=2)
        with own, span("after"):
            pass
        assert CURRENT_SPAN.get() is not own
        assert sorted(spans.names()) == ["after", "child", "inner", "own"]
        assert spans["own"].attributes == {"place": 2}
        assert spans["inner"].parent_id == spans["child"].span_id
        assert spans["after"].parent_id == spans.root.span_id


@pytest.mark.parametrize("name", [7, None, b"x", Thing("")])
def test_a_name_that_is_no_text(name: object) -> None:
    with recorded_spans() as spans:
        with span(name):  # type: ignore[arg-type] # no text
            pass
        (found,) = spans.names()
        assert isinstance(found, str)


def record_thing() -> weakref.ref[Thing]:
    """Record a span that fails, with an object of the application in its attributes, event and error."""
    thing = Thing("thing")
    try:
        with span("own", thing=thing, things=[thing]) as own:
            own.event("event", thing=thing)
            error = ValueError(thing)
            error.__cause__ = error
            raise error
    except ValueError:
        pass
    return weakref.ref(thing)


def test_recorded_spans_keep_no_object_of_the_application() -> None:
    with recorded_spans() as spans:
        gone = record_thing()
        gc.collect()
        assert gone() is None
        assert spans.names() == ["own"]


def test_a_span_keeps_its_latest_events_and_links() -> None:
    with recorded_spans() as spans:
        with span("own") as own:
            for number in range(MAX_EVENTS + 10):
                own.event(str(number))
                spans.root.add_link("a" * 32, f"{number:016x}")
        assert [each.name for each in spans["own"].events][-1] == str(MAX_EVENTS + 9)
        assert len(spans["own"].events) == MAX_EVENTS
        assert spans.root.details is not None
        assert len(spans.root.details.links or ()) == MAX_EVENTS


def test_details_are_added_to_what_the_type_has() -> None:
    with recorded_spans() as spans:
        own = Span(spans.root.trace)
        own.set(name="ignored", sku=7)
        own.add_event("event", {"a": 1}, at=2.0)
        details = own.add_details()
        details.error, details.error_message = "_OTHER", "no sku"
        record_span(NAMED, 0.0, ("typed",), span=own)
        found = spans["typed"]
        assert found.attributes == {"name": "typed", "sku": 7, "error.type": "_OTHER"}
        assert (found.error, found.error_message) == ("_OTHER", "no sku")
        assert [(each.time_ns, each.attributes) for each in found.events] == [(2 * 10**9, {"a": 1})]


def test_the_error_of_the_record_comes_first() -> None:
    with recorded_spans() as spans:
        own = Span(spans.root.trace)
        own.set(**{"error.type": "theirs"})
        own.add_details().error = "_OTHER"
        record_span(NAMED, 0.0, ("typed",), error="KeyError", span=own)
        assert (spans["typed"].error, spans["typed"].attributes["error.type"]) == ("KeyError", "KeyError")
