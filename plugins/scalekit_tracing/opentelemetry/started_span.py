"""Spans that users of opentelemetry-api start and end."""

from __future__ import annotations

from types import TracebackType

from opentelemetry.trace import Status, StatusCode

from scalekit.telemetry import Span, SpanType, text_of
from scalekit_tracing.opentelemetry.api_span import ApiSpan, seconds_of


class StartedSpan(ApiSpan):
    """A child of *parent*, which is recorded when it ends.

    As a context manager it records an exception, and declares the span failed, when *records_exception* and
    *sets_status* say so.
    """

    def __init__(
        self,
        parent: Span,
        span_type: SpanType,
        name: str,
        start_time: int | None,
        *,
        records_exception: bool,
        sets_status: bool,
    ) -> None:
        super().__init__(Span(parent.trace))
        self._parent = parent
        self._type = span_type
        self._name = parent.trace.copied_text(name)
        self._began = seconds_of(start_time)
        self._has_ended = False
        self._records_exception = records_exception
        self._sets_status = sets_status

    def is_recording(self) -> bool:
        """Return whether the span has not ended."""
        return not self._has_ended

    def end(self, end_time: int | None = None) -> None:
        """Record the span, unless it has ended."""
        if not self._has_ended:
            self._has_ended = True
            ended = seconds_of(end_time)
            self.own.trace.add((self._parent, self._type, self._began, ended, (self._name,), "", self.own))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Exception) and self.is_recording():
            if self._records_exception:
                self.record_exception(error)
            if self._sets_status:
                self.set_status(Status(StatusCode.ERROR, f"{type(error).__name__}: {text_of(error)}"))
        self.end()
