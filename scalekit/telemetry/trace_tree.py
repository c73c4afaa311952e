"""Print the spans of a trace as a tree, with the own time of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from scalekit.telemetry.attributes import Attributes
from scalekit.telemetry.finished_span import FinishedSpan
from scalekit.telemetry.span_redactor import SpanRedactor

MAX_VALUE = 200
"""Characters of an attribute that are printed."""
MAX_CHARACTERS = 1000
"""Characters of an attribute that are read, of which blanks are joined."""
MAX_EVENT_ATTRIBUTES = 16
"""Attributes of an event that are printed, on one line."""
MAX_LINE = 100
"""Characters of a line of attributes."""
WIDTH = 48
"""Characters of the column with the names."""


def trace_tree(spans: Sequence[FinishedSpan], redactor: SpanRedactor) -> Iterator[str]:
    """Yield the lines of *spans* of one trace: name, duration, own time, attributes, and events below it.

    The own time of a span is the time in which none of its children runs. *redactor* masks secrets.
    """
    known = {span.span_id for span in spans}
    children: dict[str, list[FinishedSpan]] = {}
    roots: list[FinishedSpan] = []
    for span in sorted(spans, key=lambda each: (each.began_ns, -each.ended_ns)):
        (children.setdefault(span.parent_id, []) if span.parent_id in known else roots).append(span)
    waiting = [(root, "", "") for root in reversed(roots)]
    while waiting:  # not recursive: spans may be nested more deeply than calls
        span, first, others = waiting.pop()
        below = children.get(span.span_id, [])
        yield from _lines(span, below, first, others, redactor)
        for child in reversed(below):
            last = child is below[-1]
            waiting.append((child, others + ("└─ " if last else "├─ "), others + ("   " if last else "│  ")))


def _lines(
    span: FinishedSpan, below: Sequence[FinishedSpan], first: str, others: str, redactor: SpanRedactor
) -> Iterator[str]:
    """Yield the lines of *span*, the first with the prefix *first* and all further ones with *others*."""
    duration, own = span.ended_ns - span.began_ns, own_time(span, below)
    name = _shown(redactor.text(span.name))
    yield f"{first + name:<{WIDTH}} {_milliseconds(duration)}  own {_milliseconds(own)}{_outcome(span, redactor)}"
    indent = others + ("│  " if below else "   ")
    yield from (indent + each for each in _packed(_pairs(_untold(span), redactor)))
    for event in span.events:
        pairs = islice(_pairs(event.attributes, redactor), MAX_EVENT_ATTRIBUTES)
        yield f"{indent}* {' '.join([_shown(redactor.text(event.name)), *pairs])}"
    for link in span.links:
        yield f"{indent}linked to span {link.span_id} of trace {link.trace_id}"


def _untold(span: FinishedSpan) -> Attributes:
    """Return the attributes of *span* that neither its name nor its error tells."""
    told = {span.name, *span.name.split(), _error_of(span)}
    return {name: value for name, value in span.attributes.items() if not (isinstance(value, str) and value in told)}


def _packed(pairs: Iterable[str]) -> Iterator[str]:
    """Yield lines of *pairs*, each as long as MAX_LINE or a longer one alone."""
    line = ""
    for pair in pairs:
        if line and len(line) + len(pair) + 2 > MAX_LINE:
            yield line
            line = ""
        line = f"{line}  {pair}" if line else pair
    if line:
        yield line


def _pairs(attributes: Attributes, redactor: SpanRedactor) -> Iterator[str]:
    for name, value in attributes.items():
        yield f"{_shown(redactor.text(name))}={_shown(redactor.value(name, value))}"


def own_time(span: FinishedSpan, children: Sequence[FinishedSpan]) -> int:
    """Return the nanoseconds of *span* in which none of *children*, by their begin, runs."""
    own, reached = span.ended_ns - span.began_ns, span.began_ns
    for child in children:
        began, ended = max(child.began_ns, reached), min(child.ended_ns, span.ended_ns)
        if ended > began:
            own -= ended - began
            reached = ended
    return own


def _milliseconds(nanoseconds: int) -> str:
    return f"{nanoseconds / 1e6:9.3f} ms"


def _outcome(span: FinishedSpan, redactor: SpanRedactor) -> str:
    return f"  failed: {_shown(redactor.text(span.error_message or _error_of(span)))}" if span.error else ""


def _error_of(span: FinishedSpan) -> str:
    """Return the type of the error of *span*, which an instrumented library may have set as an attribute."""
    return str(span.attributes.get("error.type", span.error))


def _shown(value: object) -> str:
    """Return *value* on one line, without characters that a terminal interprets."""
    try:
        text = " ".join(str(value)[:MAX_CHARACTERS].split())
    except ValueError as error:  # a number of too many digits
        text = f"<{type(error).__name__}>"
    text = "".join(each if each.isprintable() else "?" for each in text)
    return text if len(text) <= MAX_VALUE else f"{text[: MAX_VALUE - 1]}…"
