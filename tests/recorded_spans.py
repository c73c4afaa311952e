"""Record the spans of a block, without the plugin ``tracing``."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from scalekit import parse_trace_context
from scalekit.telemetry import CURRENT_SPAN, Attributes, FinishedSpan, Span, Trace, finished_spans


class RecordedSpans:
    """The spans below *root*."""

    def __init__(self, root: Span) -> None:
        self.root = root

    def all(self) -> list[FinishedSpan]:
        return list(finished_spans(self.root.trace, self.root.trace.records, 0.0))

    def names(self) -> list[str]:
        return [each.name for each in self.all()]

    def root_events(self) -> list[tuple[str, Attributes]]:
        """Return the names and attributes of the events of the root."""
        details = self.root.details
        events = () if details is None else details.events or ()
        return [(name, attributes) for name, _, attributes in events]

    def __getitem__(self, name: str) -> FinishedSpan:
        (found,) = (each for each in self.all() if each.name == name)
        return found


@contextmanager
def recorded_spans() -> Generator[RecordedSpans, None, None]:
    """Record the spans that end inside."""
    root = Span(Trace(parse_trace_context([])))
    token = CURRENT_SPAN.set(root)
    try:
        yield RecordedSpans(root)
    finally:
        CURRENT_SPAN.reset(token)
