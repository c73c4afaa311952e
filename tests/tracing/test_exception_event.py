"""Events of exceptions: bounded, whatever the exception is."""

from __future__ import annotations

import pytest

from scalekit import Redactor, format_traceback, parse_trace_context
from scalekit.telemetry import MAX_TEXT, Attributes, Span, SpanRedactor, Trace
from scalekit_tracing.exception_event import MAX_LINE, MAX_STACK, add_exception


def event_of(error: BaseException) -> Attributes:
    """Return the attributes of the event of *error*, as they are exported."""
    span = Span(Trace(parse_trace_context([])))
    add_exception(span, error)
    assert span.details is not None
    assert span.details.events is not None
    (_, _, attributes) = span.details.events[0]
    assert span.trace.size >= sum(len(attributes[f"exception.{name}"]) for name in ("message", "stacktrace"))
    redactor = SpanRedactor(Redactor())
    return {name: redactor.value(name, value) for name, value in attributes.items()}


def raised(error: Exception) -> Exception:
    try:
        raise error
    except type(error) as caught:
        return caught


def test_the_last_frames_of_a_deep_recursion_are_kept() -> None:
    def recurse(depth: int) -> None:
        if depth:
            eval("recurse(depth - 1)", {"recurse": recurse, "depth": depth})
        raise ValueError("deep")

    with pytest.raises(ValueError, match="deep") as caught:
        recurse(300)
    stack = event_of(caught.value)["exception.stacktrace"]
    assert len(stack) <= MAX_STACK
    assert stack.splitlines() == format_traceback(caught.value).splitlines()[-len(stack.splitlines()) :]
    assert stack.endswith("ValueError: deep\n")


def test_a_long_message_is_cut_after_its_secrets_are_masked() -> None:
    error = raised(ValueError("x" * (MAX_TEXT - 10) + " password=s3cr3t " + "y" * 10_000_000))
    found = event_of(error)
    assert len(found["exception.message"]) == MAX_TEXT
    assert len(found["exception.stacktrace"]) <= MAX_LINE
    assert "s3cr" not in str(found)


def test_lines_are_cut_whole() -> None:
    lines = "\n".join(f"password=s3cr3t-{number:05}" for number in range(5000))
    assert "s3cr" not in str(event_of(raised(ValueError(lines))))


class Broken(Exception):
    def __str__(self) -> str:
        raise KeyError


def test_a_message_that_cannot_be_read() -> None:
    assert event_of(raised(Broken()))["exception.message"] == "<Broken: KeyError>"
