"""Spans of libraries that use opentelemetry-api are recorded below those of ScaleKit, and the reverse."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanContext, Status, StatusCode, TraceFlags

from scalekit.telemetry import CURRENT_SPAN, MAX_ATTRIBUTES, SpanKind, span
from scalekit_tracing.opentelemetry.registration import register_provider
from tests.recorded_spans import recorded_spans

pytestmark = pytest.mark.anyio

TRACER = trace.get_tracer("shop.prices", "1.2")


@pytest.fixture(autouse=True, scope="module")
def _provider() -> None:
    register_provider()


def test_a_span_is_a_child_of_the_current_one() -> None:
    with recorded_spans() as spans:
        with TRACER.start_as_current_span("price", attributes={"sku": 7, "none": None, "names": ["a", "b"]}) as price:
            price.set_attribute("total", 3)
            price.set_attributes({"sku": 8, "kept": True})
        found = spans["price"]
        assert (found.parent_id, found.kind, found.scope) == (
            spans.root.span_id,
            SpanKind.INTERNAL,
            ("shop.prices", "1.2"),
        )
        assert found.attributes == {"sku": 8, "names": ("a", "b"), "total": 3, "kept": True}
        assert (found.error, found.is_ok) == ("", False)
        assert 0 <= found.ended_ns - found.began_ns < 10**9


def test_both_kinds_of_spans_nest_in_each_other() -> None:
    with recorded_spans() as spans:
        start = TRACER.start_as_current_span
        with start("outer"), span("own"), start("inner"), span("innermost"):
            pass
        with span("again"), trace.use_span(TRACER.start_span("used"), end_on_exit=True), span("below"):
            pass
        parents = {each.name: each.parent_id for each in spans.all()}
        ids = {each.name: each.span_id for each in spans.all()}
        assert parents == {
            "outer": spans.root.span_id,
            "own": ids["outer"],
            "inner": ids["own"],
            "innermost": ids["inner"],
            "again": spans.root.span_id,
            "used": ids["again"],
            "below": ids["used"],
        }
        assert CURRENT_SPAN.get() is spans.root


@pytest.mark.parametrize("kind", trace.SpanKind)
def test_kinds(kind: trace.SpanKind) -> None:
    with recorded_spans() as spans:
        with TRACER.start_as_current_span("call", kind=kind):
            pass
        assert spans["call"].kind.name == kind.name


def test_events_and_links() -> None:
    other = SpanContext(0xA, 0xB, is_remote=True, trace_flags=TraceFlags(1))
    at = time.time_ns() - 10**9
    with recorded_spans() as spans:
        with TRACER.start_as_current_span("price", links=[Link(other)]) as price:
            price.add_event("discount", {"percent": 5}, timestamp=at)
            price.add_event("paid")
            price.add_link(SpanContext(0xC, 0xD, is_remote=False))
            price.add_link(trace.INVALID_SPAN_CONTEXT)
        found = spans["price"]
        assert [(each.name, each.attributes) for each in found.events] == [("discount", {"percent": 5}), ("paid", {})]
        offset = found.events[0].time_ns - found.events[1].time_ns
        assert -2 * 10**9 < offset <= -(10**9)
        assert [tuple(each) for each in found.links] == [(f"{0xA:032x}", f"{0xB:016x}"), (f"{0xC:032x}", f"{0xD:016x}")]


def raising(error: BaseException) -> None:
    with TRACER.start_as_current_span("broken"):
        raise error


def raising_in_span(error: BaseException) -> None:
    with TRACER.start_span("broken"):
        raise error


@pytest.mark.parametrize("work", [raising, raising_in_span])
def test_an_exception_is_recorded_and_raised(work: Callable[[BaseException], None]) -> None:
    with recorded_spans() as spans:
        with pytest.raises(KeyError):
            work(KeyError("sku"))
        found = spans["broken"]
        assert (found.error, found.error_message) == ("KeyError", "KeyError: 'sku'")
        assert found.attributes == {"error.type": "KeyError"}
        (event,) = found.events
        assert (event.name, event.attributes["exception.type"]) == ("exception", "KeyError")


class Unprintable(Exception):
    def __str__(self) -> str:
        raise KeyError


def test_an_exception_without_a_text() -> None:
    with recorded_spans() as spans:
        with pytest.raises(Unprintable):
            raising_in_span(Unprintable())
        assert spans["broken"].error_message == "Unprintable: <Unprintable: KeyError>"


def test_an_exception_is_not_recorded_on_request() -> None:
    with recorded_spans() as spans:
        off: dict[str, Any] = {"record_exception": False, "set_status_on_exception": False}
        with pytest.raises(KeyError), TRACER.start_as_current_span("quiet", **off):
            raise KeyError("sku")
        with pytest.raises(KeyError), TRACER.start_span("silent", **off):
            raise KeyError("sku")
        for work in (raising, raising_in_span):
            with pytest.raises(asyncio.CancelledError):
                work(asyncio.CancelledError())
        assert {(each.error, bool(each.events)) for each in spans.all()} == {("", False)}


@pytest.mark.parametrize(
    ("statuses", "error", "message", "is_ok"),
    [
        ([Status(StatusCode.ERROR, "declined")], "_OTHER", "declined", False),
        ([(StatusCode.ERROR, "declined")], "_OTHER", "declined", False),
        ([(StatusCode.ERROR, None)], "_OTHER", "", False),
        ([(StatusCode.OK, None)], "", "", True),
        ([(StatusCode.ERROR, "declined"), (StatusCode.OK, None)], "", "", True),
        ([(StatusCode.OK, None), (StatusCode.ERROR, "declined")], "", "", True),
        ([(StatusCode.ERROR, "declined"), (StatusCode.UNSET, None)], "_OTHER", "declined", False),
    ],
)
def test_status(statuses: list[Any], error: str, message: str, is_ok: bool) -> None:
    with recorded_spans() as spans:
        with TRACER.start_as_current_span("pay") as pay:
            for status in statuses:
                pay.set_status(*status) if isinstance(status, tuple) else pay.set_status(status)
        found = spans["pay"]
        assert (found.error, found.error_message, found.is_ok) == (error, message, is_ok)
        assert found.attributes.get("error.type", "") == error


def test_the_type_of_the_error_is_that_of_the_library() -> None:
    with recorded_spans() as spans:
        with TRACER.start_as_current_span("pay", attributes={"error.type": "declined"}) as pay:
            pay.record_exception(ValueError("handled"), {"code": 7})
            pay.set_status(StatusCode.ERROR)
        found = spans["pay"]
        assert (found.error, found.attributes) == ("ValueError", {"error.type": "declined"})
        assert found.events[0].attributes["code"] == 7


def test_a_handled_exception_is_no_error() -> None:
    with recorded_spans() as spans:
        with TRACER.start_as_current_span("pay") as pay:
            pay.record_exception(ValueError("handled"))
        assert (spans["pay"].error, len(spans["pay"].events)) == ("", 1)


def test_a_span_is_renamed() -> None:
    with recorded_spans() as spans:
        with TRACER.start_as_current_span("pay") as pay:
            pay.update_name("pay later")
        assert spans.names() == ["pay later"]


def test_times_of_the_caller_and_mistaken_ones() -> None:
    ended = time.time_ns()
    with recorded_spans() as spans:
        TRACER.start_span("past", start_time=ended - 5 * 10**9).end(ended - 2 * 10**9)
        for mistake in (0, -1, int(time.time()), 2**70):
            TRACER.start_span("mistaken", start_time=mistake).end(mistake)
        past, *mistaken = spans.all()
        assert abs(past.ended_ns - past.began_ns - 3 * 10**9) < 10**8
        for each in mistaken:
            assert past.ended_ns + 10**9 < each.began_ns <= each.ended_ns < past.ended_ns + 10**10


async def test_tasks_and_threads_have_the_span_as_their_parent() -> None:
    with recorded_spans() as spans:

        async def work(name: str) -> None:
            with TRACER.start_as_current_span(name):
                await asyncio.sleep(0)
                with span(f"own {name}"):
                    await asyncio.sleep(0)

        def in_thread() -> None:
            with TRACER.start_as_current_span("thread"), span("own thread"):
                pass

        with TRACER.start_as_current_span("both"):
            await asyncio.gather(work("one"), work("two"), asyncio.to_thread(in_thread))
        for name in ("one", "two", "thread"):
            assert spans[name].parent_id == spans["both"].span_id
            assert spans[f"own {name}"].parent_id == spans[name].span_id


def test_a_span_that_another_thread_ends_is_recorded_once() -> None:
    with recorded_spans() as spans:
        pay = TRACER.start_span("pay")
        assert pay.is_recording()
        with ThreadPoolExecutor(1) as threads:
            threads.submit(pay.end).result()
        pay.end()
        assert not pay.is_recording()
        assert spans["pay"].parent_id == spans.root.span_id


def test_a_span_that_ends_in_a_copy_of_the_context() -> None:
    with recorded_spans() as spans:
        pay = TRACER.start_span("pay")
        copy_context().run(pay.end)
        assert spans.names() == ["pay"]


def test_a_span_that_never_ends_is_not_recorded_but_has_children() -> None:
    with recorded_spans() as spans:
        endless = TRACER.start_span("endless")
        with trace.use_span(endless), span("child"):
            pass
        assert spans.names() == ["child"]
        assert spans["child"].parent_id == f"{endless.get_span_context().span_id:016x}"


def test_nothing_is_recorded_without_a_trace() -> None:
    with TRACER.start_as_current_span("price", attributes={"sku": 7}) as price:
        assert not price.is_recording()
        assert price.get_span_context() == trace.INVALID_SPAN_CONTEXT
        assert CURRENT_SPAN.get() is None


def remote(trace_id: str) -> Context:
    ids = SpanContext(int(trace_id, 16), 0xB, is_remote=True, trace_flags=TraceFlags(1))
    return trace.set_span_in_context(trace.NonRecordingSpan(ids), Context())


def test_the_remote_parent_of_the_request_is_the_parent_of_the_current_span() -> None:
    """A framework that reads ``traceparent`` too has no other place in the trace."""
    with recorded_spans() as spans:
        for context in (remote(spans.root.trace.context.trace_id), Context()):
            with TRACER.start_as_current_span("handle", context=context):
                pass
        assert {each.parent_id for each in spans.all()} == {spans.root.span_id}
        assert len(spans.all()) == 2


def test_a_span_of_another_trace_is_passed_on_and_not_recorded() -> None:
    with recorded_spans() as spans:
        with TRACER.start_as_current_span("deliver", context=remote("a" * 32)) as deliver:
            assert not deliver.is_recording()
            assert trace.get_current_span().get_span_context().trace_id == int("a" * 32, 16)
            with span("own"):
                pass
        assert spans.names() == ["own"]
        assert spans["own"].parent_id == spans.root.span_id


def serve(context: Context) -> None:
    server = trace.SpanKind.SERVER
    with TRACER.start_as_current_span("GET", context, server, {"url.query": "token=secret"}) as served:
        served.set_attribute("user.id", 7)
        served.update_name("GET /")
        with TRACER.start_as_current_span("endpoint"):
            pass
        raise KeyError


def test_the_server_span_of_a_framework_is_that_of_scalekit() -> None:
    with recorded_spans() as spans:
        for context in (Context(), remote("a" * 32), remote(spans.root.trace.context.trace_id)):
            with pytest.raises(KeyError):
                serve(context)
        assert spans.names() == 3 * ["endpoint"]
        assert {each.parent_id for each in spans.all()} == {spans.root.span_id}
        details = spans.root.details
        assert details is not None
        assert (details.attributes, details.name, details.error, details.events) == ({"user.id": 7}, "", "", None)


async def test_decorated_functions() -> None:
    @TRACER.start_as_current_span("coroutine")
    async def coroutine() -> None:
        await asyncio.sleep(0)
        with span("in coroutine"):
            pass

    @TRACER.start_as_current_span("function")
    def function() -> None:
        with span("in function"):
            pass

    with recorded_spans() as spans:
        for _ in range(2):
            await coroutine()
            function()
        assert spans.names() == 2 * ["in coroutine", "coroutine", "in function", "function"]
        parents = [(each.parent_id, below.span_id) for each, below in zip(spans.all(), spans.all()[1:], strict=False)]
        assert all(parent == child for parent, child in parents[::2])


def test_attributes_are_bounded() -> None:
    with recorded_spans() as spans:
        with TRACER.start_as_current_span("many") as many:
            for number in range(2 * MAX_ATTRIBUTES):
                many.set_attribute(f"a{number}", number)
            many.set_attribute("a0", "changed")
        found = spans["many"].attributes
        assert len(found) == MAX_ATTRIBUTES
        assert found["a0"] == "changed"


class Thing:
    """An object of the application."""


def record_thing() -> weakref.ref[Thing]:
    thing: Any = Thing()
    with TRACER.start_as_current_span("own", attributes={"thing": thing, thing: 1}) as own:
        own.set_attribute("other", thing)
        own.add_event("event", {"thing": thing})
        own.record_exception(ValueError(thing), {"thing": thing})
    return weakref.ref(thing)


def test_recorded_spans_keep_no_object_of_the_application() -> None:
    with recorded_spans() as spans:
        gone = record_thing()
        gc.collect()
        assert gone() is None
        assert all(isinstance(name, str) for name in spans["own"].attributes)


def test_enriching_a_span_of_scalekit() -> None:
    with recorded_spans() as spans:
        with span("price", sku=7):
            current = trace.get_current_span()
            current.set_attribute("sku", 8)
            current.set_status(StatusCode.ERROR, "no price")
            current.end()
            with span("inner"):
                pass
        found = spans["price"]
        assert (found.attributes, found.error) == ({"sku": 8, "error.type": "_OTHER"}, "_OTHER")
        assert found.error_message == "no price"
        assert spans["inner"].parent_id == found.span_id
