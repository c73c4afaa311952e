"""Spans of messages: publishing, relaying from the outbox, and each delivery, linked to the span that published it."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from time import perf_counter

from scalekit import TRACE_CONTEXT, Context, parse_trace_context
from scalekit.contracts import TRACER
from scalekit.telemetry import CURRENT_SPAN, Attributes, Span, SpanKind, SpanType, error_type, record_span
from scalekit_queue.envelope import Envelope

TRACEPARENT = "traceparent"
SPAN_ID = slice(36, 52)
"""The place of the span id in a ``traceparent`` of version 00."""
MAX_LINKS = 128
"""Messages of one relayed batch to which its span is linked."""


OPERATION_TYPES = {"publish": "send", "store": "create", "relay": "send", "process": "process"}
"""The type of each operation, which is also the first word of the names of its spans."""


def _attributes(operation: str, system: str, name: str, messages: int) -> Attributes:
    """Return the attributes of a span of *messages* (OpenTelemetry semantic conventions, messaging)."""
    attributes: Attributes = {
        "messaging.operation.name": operation,
        "messaging.operation.type": OPERATION_TYPES[operation],
        "messaging.system": system,
        "messaging.destination.name": name,
    }
    if messages > 1:
        attributes["messaging.batch.message_count"] = messages
    return attributes


def _publish_attributes(system: str, name: str, messages: int, message_id: str) -> Attributes:
    attributes = _attributes("publish", system, name, messages)
    return {**attributes, "messaging.message.id": message_id} if messages == 1 else attributes


def _store_attributes(system: str, name: str, messages: int, message_id: str) -> Attributes:
    return {**_attributes("store", system, name, messages), "messaging.message.id": message_id}


PUBLISH_SPAN = SpanType(SpanKind.PRODUCER, lambda system, name, *_: f"publish {name}", _publish_attributes)
"""Publishing; its values are the system, the name of the message, the number of messages, and the id of the first."""
STORE_SPAN = SpanType(SpanKind.PRODUCER, lambda system, name, *_: f"store {name}", _store_attributes)
"""Storing a message in the outbox; its values are those of PUBLISH_SPAN."""
RELAY_SPAN = SpanType(
    SpanKind.CLIENT,  # the messages were created by the spans that stored them
    lambda system, messages: "relay outbox",
    lambda system, messages: _attributes("relay", system, "outbox", messages),
)
"""Publishing messages of the outbox; its values are the system and the number of messages."""


def _delivery_attributes(system: str, name: str, message_id: str, attempt: int) -> Attributes:
    attributes = _attributes("process", system, name, 1)
    return {**attributes, "messaging.message.id": message_id, "scalekit.queue.attempt": attempt}


DELIVERY_SPAN = SpanType(SpanKind.CONSUMER, lambda system, name, *_: f"process {name}", _delivery_attributes)
"""A delivery; its values are the system, the name and the id of the message, and the number of the attempt."""


@contextmanager
def publishing(span_type: SpanType, system: str, envelopes: Sequence[Envelope]) -> Generator[None, None, None]:
    """Record the span with which *envelopes*, which are sent or stored inside, refer to their publisher."""
    began = perf_counter()
    error = ""
    try:
        yield
    except BaseException as failure:
        error = error_type(type(failure))
        raise
    finally:
        first = envelopes[0]
        span_id = first.headers.get(TRACEPARENT, "")[SPAN_ID]
        record_span(span_type, began, (system, first.name, len(envelopes), first.id), error=error, span=span_id)


@contextmanager
def delivery_trace(context: Context, system: str, envelope: Envelope) -> Generator[None, None, None]:
    """Record the trace of a delivery: it continues that of the publisher, whose span is its parent and its link."""
    publisher = TRACE_CONTEXT.get()
    if publisher is None or not context.has(TRACER):
        yield
        return
    tracer = context.get(TRACER)
    root = tracer.begin(publisher)
    if publisher.parent_id:
        root.add_link(publisher.trace_id, publisher.parent_id)
    values = (system, envelope.name, envelope.id, envelope.attempt)
    with _trace(context, root, DELIVERY_SPAN, values, f"queue {envelope.name}"):
        yield


@contextmanager
def relay_trace(context: Context, system: str, envelopes: Sequence[Envelope]) -> Generator[None, None, None]:
    """Record the trace of publishing *envelopes* of the outbox, with a link to each of the spans that stored them."""
    if not context.has(TRACER):
        yield
        return
    root = context.get(TRACER).begin(parse_trace_context([]))
    for envelope in envelopes[:MAX_LINKS]:
        stored = _trace_context(envelope.headers)
        if stored is not None:
            root.add_link(*stored)
    with _trace(context, root, RELAY_SPAN, (system, len(envelopes)), "queue relay"):
        yield


@contextmanager
def _trace(
    context: Context, root: Span, span_type: SpanType, values: Sequence[object], route: str
) -> Generator[None, None, None]:
    """Set *root* as the current span while inside, and end it."""
    began = perf_counter()
    token = CURRENT_SPAN.set(root)
    error: BaseException | None = None
    try:
        yield
    except BaseException as failure:
        error = failure
        raise
    finally:
        CURRENT_SPAN.reset(token)
        if context.has(TRACER):
            context.get(TRACER).end(root, span_type, began, values, route=route, error=error)


def _trace_context(headers: Mapping[str, str]) -> tuple[str, str] | None:
    """Return trace id and span id in *headers*, or None."""
    sent = headers.get(TRACEPARENT, "")
    found = parse_trace_context([(b"traceparent", sent.encode("utf-8", "replace"))])
    return (found.trace_id, found.parent_id) if found.parent_id else None
