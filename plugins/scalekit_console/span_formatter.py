"""Spans of a trace as data that workers exchange, with secrets masked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scalekit.telemetry import FinishedSpan, SpanRedactor, text_of


class SpanFormatter:
    """Describes spans; *redactor* masks secrets."""

    def __init__(self, redactor: SpanRedactor) -> None:
        self._redactor = redactor

    def describe(self, span: FinishedSpan) -> dict[str, Any]:
        """Return *span* as JSON can represent it."""
        return {
            "id": span.span_id,
            "parent": span.parent_id,
            "name": self._text(span.name),
            "kind": span.kind.name.lower(),
            "began": span.began_ns,
            "ended": span.ended_ns,
            "error": self._text(span.error_message or span.error),
            "attributes": self._texts(span.attributes),
            "events": [[self._text(each.name), each.time_ns, self._texts(each.attributes)] for each in span.events],
            "links": [[self._text(each.trace_id), self._text(each.span_id)] for each in span.links],
        }

    def _texts(self, attributes: Mapping[str, Any]) -> dict[str, str]:
        return {self._text(name): self._shown(name, attributes[name]) for name in attributes}

    def _shown(self, name: str, value: object) -> str:
        shown = self._redactor.value(name, value)
        if isinstance(shown, list | tuple):
            shown = ", ".join(map(text_of, shown))
        return _encodable(text_of(shown))

    def _text(self, text: str) -> str:
        return _encodable(self._redactor.text(text_of(text)))


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
