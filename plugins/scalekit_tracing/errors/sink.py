"""Send errors to a Sentry-compatible server by its envelope protocol.

Source: Sentry developer documentation, "Envelopes" and "Event Payloads".
"""

from __future__ import annotations

import linecache
import sysconfig
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from scalekit_tracing.dsn import Dsn
from scalekit_tracing.errors.error_event import ErrorEvent, RaisedException, StackFrame
from scalekit_tracing.otlp.collector_client import CollectorClient, CollectorRejection
from scalekit_tracing.otlp.endpoint import CollectorEndpoint
from scalekit_tracing.otlp.resource import ServiceResource

SOURCE = "tracing.errors.dsn"
CONTENT_TYPE = "application/x-sentry-envelope"
PROTOCOL_VERSION = 7
CONTEXT_LINES = 5
"""Lines of code before and after the line of a frame."""
MAX_LINE = 200
"""Characters of a line of code that are sent."""
MAX_REDACTED = 10 * MAX_LINE
"""Characters of a line in which secrets are masked, before it is cut."""
MAX_MESSAGE = 4096
"""Characters of a message that are sent."""
LIBRARIES = (sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))


class SentrySink:
    """Sends errors of *service* to the project of *dsn*; *attributes* describe it, *redact* masks secrets in texts."""

    what = "errors"

    def __init__(
        self,
        dsn: Dsn,
        service: ServiceResource,
        attributes: dict[str, str],
        redact: Callable[[str], str],
        timeout: float,
    ) -> None:
        client = f"scalekit/{service.version}"
        auth = f"Sentry sentry_version={PROTOCOL_VERSION}, sentry_key={dsn.key}, sentry_client={client}"
        headers = {"x-sentry-auth": auth}
        endpoint = CollectorEndpoint(dsn.parts, dsn.path, headers, "json", "gzip", timeout, SOURCE)
        self.target = endpoint.url
        self._client = CollectorClient(endpoint, CONTENT_TYPE)
        self._service = service
        self._attributes = attributes
        self._redact = redact
        self._results: dict[str, CollectorRejection | None] = {}  # of a batch that is not complete

    def send(self, batch: Sequence[ErrorEvent]) -> int:
        """Send *batch*, each error as one envelope, and when it is repeated only those that the server did not take.

        Returns how many the server refused; raises CollectorRejection when it refused all.
        """
        for event in batch:
            if event.event_id not in self._results:
                self._results[event.event_id] = self._send(event)
        results, self._results = list(self._results.values()), {}
        refused = [each for each in results if each is not None]
        if len(refused) == len(batch):
            raise refused[-1]
        return len(refused)

    def _send(self, event: ErrorEvent) -> CollectorRejection | None:
        """Send one error; return why the server refuses it."""
        try:
            self._client.send(self._envelope(event))
        except CollectorRejection as error:
            return error
        return None

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _envelope(self, event: ErrorEvent) -> bytes:
        payload = orjson.dumps(self._payload(event))
        head = orjson.dumps({"event_id": event.event_id, "sent_at": _timestamp(event.time)})
        item = orjson.dumps({"type": "event", "length": len(payload), "content_type": "application/json"})
        return b"\n".join([head, item, payload, b""])

    def _payload(self, event: ErrorEvent) -> dict[str, Any]:
        source = event.source
        payload: dict[str, Any] = {
            "event_id": event.event_id,
            "timestamp": _timestamp(event.time),
            "platform": "python",
            "level": "error",
            "logger": "scalekit",
            "transaction": self._text(source.name),
            "exception": {"values": [self._exception(each) for each in event.exceptions]},
            "tags": {"request_id": source.request_id, "service": self._service.attributes["service.name"]},
            "contexts": {"trace": {"trace_id": source.trace_id, "span_id": source.span_id}},
            "sdk": {"name": "scalekit", "version": self._service.version},
            **self._attributes,
        }
        if source.path:
            payload["request"] = {"method": self._text(source.method), "url": self._text(source.path)}
        if event.suppressed:
            payload["extra"] = {"suppressed": event.suppressed}
        return payload

    def _exception(self, raised: RaisedException) -> dict[str, Any]:
        module, _, name = raised.kind.rpartition(".")
        return {
            "type": name,
            "module": module or "builtins",
            "value": self._text(raised.message)[:MAX_MESSAGE],
            "mechanism": _mechanism(raised),
            "stacktrace": {"frames": [self._frame(each) for each in raised.frames]},
        }

    def _frame(self, frame: StackFrame) -> dict[str, Any]:
        around = range(frame.line - CONTEXT_LINES, frame.line + CONTEXT_LINES + 1)
        lines = [linecache.getline(frame.file, number) for number in around]
        shown = [self._text(line.rstrip("\n")[:MAX_REDACTED])[:MAX_LINE] for line in lines]
        file = self._text(frame.file)
        return {
            "filename": file,
            "abs_path": file,
            "module": self._text(frame.module),
            "function": self._text(frame.function),
            "lineno": frame.line,
            "in_app": not frame.file.startswith((*LIBRARIES, "<")),
            "pre_context": shown[:CONTEXT_LINES],
            "context_line": shown[CONTEXT_LINES],
            "post_context": shown[CONTEXT_LINES + 1 :],
        }

    def _text(self, text: str) -> str:
        """Return *text* without secrets, and without lone surrogates, which JSON lacks."""
        return self._redact(text).encode("utf-8", "replace").decode()


def _mechanism(raised: RaisedException) -> dict[str, Any]:
    """Return how *raised* was reported, and its place among its causes ("Exception Interface")."""
    mechanism: dict[str, Any] = {"type": "scalekit", "handled": False, "exception_id": raised.number}
    if raised.parent >= 0:
        mechanism |= {"type": "chained", "parent_id": raised.parent}
    return {**mechanism, "is_exception_group": True} if raised.is_group else mechanism


def _timestamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()
