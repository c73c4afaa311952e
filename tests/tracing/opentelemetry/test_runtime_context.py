"""The current context of opentelemetry-api has the current span of ScaleKit."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import baggage, context, propagate, trace

from scalekit import parse_trace_context
from scalekit.telemetry import CURRENT_SPAN, Span, Trace, span
from scalekit_tracing.opentelemetry.registration import register_provider
from scalekit_tracing.tracer import OwnTrace
from tests.recorded_spans import recorded_spans

pytestmark = pytest.mark.anyio

TRACER = trace.get_tracer("shop")


@pytest.fixture(autouse=True, scope="module")
def _provider() -> None:
    register_provider()


@contextmanager
def request_span(flags: str = "01", state: str = "", trace_type: type[Trace] = Trace) -> Generator[Span, None, None]:
    """Serve a request of a trace with *flags* and *state*."""
    headers = [(b"traceparent", f"00-{'a' * 32}-{'b' * 16}-{flags}".encode()), (b"tracestate", state.encode())]
    root = Span(trace_type(parse_trace_context(headers)))
    token = CURRENT_SPAN.set(root)
    try:
        yield root
    finally:
        CURRENT_SPAN.reset(token)


def current_id() -> str:
    return f"{trace.get_current_span().get_span_context().span_id:016x}"


@given(st.sampled_from(["00", "01", "02", "03"]), st.sampled_from(["", "a=1", "a=1,b@c=2"]))
def test_the_current_span_context(flags: str, state: str) -> None:
    with request_span(flags, state) as root:
        found = trace.get_current_span().get_span_context()
        assert (found.trace_id, found.span_id) == (int("a" * 32, 16), int(root.span_id, 16))
        assert (found.is_valid, found.is_remote) == (True, False)
        assert found.trace_flags == int(flags, 16)
        assert found.trace_flags.sampled == (flags in ("01", "03"))
        assert found.trace_state.to_header() == state
        assert trace.get_current_span().is_recording()
        carrier: dict[str, str] = {}
        propagate.inject(carrier)
        expected = {"traceparent": f"00-{'a' * 32}-{root.span_id}-{flags}", "tracestate": state}
        assert carrier == {name: value for name, value in expected.items() if value}
    assert trace.get_current_span() is trace.INVALID_SPAN


def test_the_current_span_is_the_innermost_of_both_kinds() -> None:
    with request_span() as root:
        with span("own") as own:
            assert current_id() == own.span_id  # type: ignore[union-attr] # recorded
            with TRACER.start_as_current_span("theirs") as theirs:
                assert trace.get_current_span() is theirs
                with span("inner") as inner:
                    assert current_id() == inner.span_id  # type: ignore[union-attr] # recorded
                assert trace.get_current_span() is theirs
            assert current_id() == own.span_id  # type: ignore[union-attr] # recorded
        assert current_id() == root.span_id


def test_other_values_of_the_context_remain() -> None:
    with request_span():
        token = context.attach(baggage.set_baggage("tenant", "blue"))
        with span("own"), TRACER.start_as_current_span("theirs"), span("inner"):
            carrier: dict[str, str] = {}
            propagate.inject(carrier)
        context.detach(token)
        assert carrier["baggage"] == "tenant=blue"
        assert carrier["traceparent"].startswith(f"00-{'a' * 32}-")
        assert baggage.get_all() == {}


def test_a_context_is_attached_in_a_thread() -> None:
    """A new thread has no context of its own; instrumented thread pools attach that of the caller."""
    with recorded_spans() as spans:

        def work(captured: context.Context) -> None:
            assert trace.get_current_span() is trace.INVALID_SPAN
            token = context.attach(captured)
            with TRACER.start_as_current_span("theirs"), span("own"):
                pass
            context.detach(token)
            assert CURRENT_SPAN.get() is None

        with span("caller"), ThreadPoolExecutor(1) as threads:
            threads.submit(work, context.get_current()).result()
        assert spans["theirs"].parent_id == spans["caller"].span_id
        assert spans["own"].parent_id == spans["theirs"].span_id


async def test_a_context_is_attached_in_a_task_of_another_request() -> None:
    with request_span() as first:
        captured = context.get_current()
    with request_span() as second:

        async def work() -> None:
            token = context.attach(captured)
            await asyncio.sleep(0)
            assert CURRENT_SPAN.get() is first
            context.detach(token)
            assert CURRENT_SPAN.get() is second

        await asyncio.create_task(work())
        assert current_id() == second.span_id


def test_spans_are_not_lost_below_a_context_without_one() -> None:
    with request_span() as root:
        token = context.attach(context.Context())
        assert CURRENT_SPAN.get() is root
        with span("own") as own:
            assert current_id() == own.span_id  # type: ignore[union-attr] # recorded
        context.detach(token)
        assert current_id() == root.span_id


def test_the_span_of_an_attached_context_is_current() -> None:
    """A framework attaches the context that it extracts from the headers of a request."""
    with request_span() as root:
        carrier = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
        token = context.attach(propagate.extract(carrier, context.Context()))
        assert current_id() == "b" * 16
        assert CURRENT_SPAN.get() is root
        context.detach(token)
        assert current_id() == root.span_id


def test_a_foreign_span_is_current_until_one_of_scalekit_begins() -> None:
    foreign = trace.NonRecordingSpan(trace.SpanContext(0xC, 0xD, is_remote=True))
    with request_span() as root:
        with trace.use_span(foreign):
            assert trace.get_current_span() is foreign
            with span("own") as own:
                assert current_id() == own.span_id  # type: ignore[union-attr] # recorded
            assert trace.get_current_span() is foreign
            assert CURRENT_SPAN.get() is root
        with trace.use_span(foreign):
            captured = context.get_current()
    token = context.attach(captured)
    assert (trace.get_current_span(), CURRENT_SPAN.get()) == (foreign, root)
    context.detach(token)
    assert CURRENT_SPAN.get() is None


def test_work_that_leaves_the_trace_has_no_span() -> None:
    with request_span(), TRACER.start_as_current_span("theirs"):
        token = CURRENT_SPAN.set(None)
        assert trace.get_current_span() is trace.INVALID_SPAN
        CURRENT_SPAN.reset(token)


def test_a_trace_without_the_spans_of_the_api() -> None:
    with request_span(trace_type=OwnTrace) as root:
        assert trace.get_current_span() is trace.INVALID_SPAN
        with TRACER.start_as_current_span("theirs") as theirs:
            assert not theirs.is_recording()
            with span("own"):
                assert trace.get_current_span() is theirs
        assert CURRENT_SPAN.get() is root
        assert [each[4][0] for each in root.trace.records] == ["own"]


def test_a_generator_that_another_context_closes(caplog: pytest.LogCaptureFixture) -> None:
    with recorded_spans() as spans:

        def numbers() -> Generator[int, None, None]:
            with TRACER.start_as_current_span("generator"):
                yield 1

        generator = numbers()
        copy_context().run(lambda: next(generator))
        generator.close()
        assert spans.names() == ["generator"]
        assert CURRENT_SPAN.get() is spans.root
    assert [each.message for each in caplog.records] == ["Failed to detach context"], "as without ScaleKit"
