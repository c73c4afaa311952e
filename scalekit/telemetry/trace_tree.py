"""Print the spans of a trace as a tree, with the own time of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from scalekit.telemetry.finished_span import FinishedSpan

MAX_VALUE = 200
"""Characters of an attribute that are printed."""
WIDTH = 48
"""Characters of the column with the names."""


def trace_tree(spans: Sequence[FinishedSpan]) -> Iterator[str]:
    """Yield the lines of *spans* of one trace: name, duration, own time, attributes, and events below it.

    The own time of a span is the time in which none of its children runs.
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
        yield from _lines(span, below, first, others)
        for child in reversed(below):
            last = child is below[-1]
            waiting.append((child, others + ("└─ " if last else "├─ "), others + ("   " if last else "│  ")))


def _lines(span: FinishedSpan, below: Sequence[FinishedSpan], first: str, others: str) -> Iterator[str]:
    """Yield the lines of *span*, the first with the prefix *first* and all further ones with *others*."""
    duration, own = span.ended_ns - span.began_ns, own_time(span, below)
    yield f"{first + _shown(span.name):<{WIDTH}} {_milliseconds(duration)}  own {_milliseconds(own)}{_outcome(span)}"
    indent = others + ("│  " if below else "   ")
    for name, value in span.attributes.items():
        yield f"{indent}{_shown(name)}={_shown(value)}"
    for event in span.events:
        text = " ".join(f"{_shown(name)}={_shown(value)}" for name, value in event.attributes.items())
        yield f"{indent}* {_shown(event.name)} {text}".rstrip()
    for link in span.links:
        yield f"{indent}linked to span {link.span_id} of trace {link.trace_id}"


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


def _outcome(span: FinishedSpan) -> str:
    return f"  failed: {_shown(span.error_message or span.error)}" if span.error else ""


def _shown(value: object) -> str:
    """Return *value* on one line, without characters that a terminal interprets."""
    try:
        text = " ".join(str(value).split())
    except Exception as error:
        text = f"<{type(error).__name__}>"
    text = "".join(each if each.isprintable() else "?" for each in text)
    return text if len(text) <= MAX_VALUE else f"{text[: MAX_VALUE - 1]}…"
