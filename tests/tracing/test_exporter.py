"""The exporter: batches, retries, bounds, and what happens when the process stops."""

from __future__ import annotations

import logging
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import Literal

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)

from scalekit import Redactor, TraceContext
from scalekit.telemetry import Span, SpanKind, SpanType, Telemetry, Trace
from scalekit_tracing import exporter as module
from scalekit_tracing.config import TracingConfig
from scalekit_tracing.exporter import BATCH_SIZE, MAX_BATCH_WEIGHT, MAX_QUEUED_WEIGHT, Exporter
from scalekit_tracing.kept_trace import KeptTrace
from scalekit_tracing.metrics import EXPORTED, FAILURES, LOST, QUEUE_FULL, REJECTED, STOPPED, TracingMetrics
from scalekit_tracing.otlp.collector_client import CollectorUnavailable, retry_after
from scalekit_tracing.otlp.endpoint import endpoint_of
from scalekit_tracing.otlp.resource import ServiceResource
from scalekit_tracing.otlp.sink import OtlpSink
from tests.processes import HOST, free_ports, wait_for
from tests.tracing.span_receiver import Reply, span_receiver

NAMED = SpanType(SpanKind.INTERNAL, lambda name: name, lambda name: {})


def trace(*names: str) -> KeptTrace:
    root = Span(Trace(TraceContext("id", "a" * 32, [])))
    began = perf_counter()
    return KeptTrace(root.trace, [(None, NAMED, began, began, (name,), "", root) for name in names])


class Running:
    """An exporter to *url* and its metrics."""

    def __init__(self, url: str, max_spans: int = 20_000, interval: float = 0.01, encoding: str = "protobuf") -> None:
        self.telemetry = Telemetry(100)
        endpoint = endpoint_of(TracingConfig.model_validate({}), {"OTEL_EXPORTER_OTLP_ENDPOINT": url})
        endpoint = endpoint._replace(encoding="json" if encoding == "json" else "protobuf")
        sink = OtlpSink(endpoint, ServiceResource({}, "1"), Redactor())
        self.exporter = Exporter(sink, TracingMetrics(self.telemetry), interval, max_spans)
        self.exporter.start()

    def count(self, counter: object, *labels: str) -> float:
        return self.telemetry.series(counter, *labels).value  # type: ignore[arg-type] # a counter


@contextmanager
def exporting(url: str, **options: int | float | str) -> Generator[Running, None, None]:
    running = Running(url, **options)  # type: ignore[arg-type] # its options
    try:
        yield running
    finally:
        running.exporter.stop(2.0)
        assert not running.exporter._thread.is_alive()


@pytest.mark.parametrize("encoding", ["protobuf", "json"])
def test_traces_are_sent_after_the_interval(encoding: str) -> None:
    with span_receiver() as receiver, exporting(receiver.url, encoding=encoding) as running:
        running.exporter.add(trace("a", "b"))
        spans = receiver.wait("the spans", lambda spans: len(spans) == 2)
        assert [span["name"] for span in spans] == ["a", "b"]
        wait_for("the count", lambda: running.count(EXPORTED) == 2)
        assert receiver.requests[0].path == "/v1/traces"


def test_a_full_batch_is_sent_before_the_interval() -> None:
    with span_receiver() as receiver, exporting(receiver.url, interval=600.0) as running:
        for _ in range(BATCH_SIZE):
            running.exporter.add(trace("a"))
        receiver.wait("the batch", lambda spans: len(spans) == BATCH_SIZE)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_request_is_repeated(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_DELAY", 0.01)
    reply: Reply = (status, {}, b"busy")
    with span_receiver(reply, reply) as receiver, exporting(receiver.url) as running:
        running.exporter.add(trace("a"))
        receiver.wait("the span", len)
        wait_for("the count", lambda: running.count(EXPORTED) == 1)
        assert (receiver.refused, running.count(FAILURES)) == (2, 2)
        assert running.exporter.error == ""


@pytest.mark.parametrize(("sent", "seconds"), [("1", 1.0), ("3600", 60.0), ("-1", 0.0), ("soon", 0.0), ("²", 0.0)])
def test_retry_after_is_read(sent: str, seconds: float) -> None:
    assert retry_after(sent) == seconds


class BusySink:
    """A sink whose collector asks to be called again after so many seconds, 0 for no wish."""

    what = "spans"
    target = "http://collector/v1/traces"

    def __init__(self, retry_after: float) -> None:
        self._retry_after = retry_after

    def send(self, batch: Sequence[KeptTrace]) -> int:
        raise CollectorUnavailable("busy", self._retry_after)

    def close(self) -> None:
        pass


def delays(retry_after: float, number: int) -> list[float]:
    """Return the delays after the first *number* failures, without waiting."""
    exporter = Exporter(BusySink(retry_after), TracingMetrics(Telemetry(10)), 1.0, 1000)
    exporter.add(trace("a"))
    found = [0.0]
    for _ in range(number):
        found.append(exporter._export_batch(found[-1]))
    return found[1:]


def test_the_next_request_waits_as_long_as_the_collector_asks() -> None:
    assert all(32.0 <= delay <= 48.0 for delay in delays(40.0, 3)), "40 s with jitter"


def test_delays_are_doubled_up_to_a_maximum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "JITTER", 0.0)
    assert delays(0.0, 7) == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


@pytest.mark.parametrize("compression", ["gzip", "none"])
def test_requests_are_compressed(compression: str) -> None:
    with span_receiver() as receiver:
        options = {"endpoint": receiver.url, "compression": compression}
        sink = OtlpSink(endpoint_of(TracingConfig.model_validate(options), {}), ServiceResource({}, "1"), Redactor())
        assert sink.send([trace("a")]) == 0
        sink.close()
    assert receiver.requests[0].headers.get("content-encoding", "none") == compression
    assert [span["name"] for span in receiver.spans()] == ["a"]


def test_a_refused_request_is_not_repeated(caplog: pytest.LogCaptureFixture) -> None:
    with span_receiver((400, {}, b"")) as receiver, exporting(receiver.url) as running:
        running.exporter.add(trace("a", "b"))
        wait_for("the loss", lambda: running.count(LOST, REJECTED) == 2)
        assert f"{receiver.url}/v1/traces: status 400" in running.exporter.error
        running.exporter.add(trace("c"))
        receiver.wait("the next trace", len)
        assert receiver.spans()[0]["name"] == "c"
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def partial_success(rejected: int, message: str) -> Reply:
    reported = ExportTracePartialSuccess(rejected_spans=rejected, error_message=message)
    return 200, {}, ExportTraceServiceResponse(partial_success=reported).SerializeToString()


def test_partial_success_is_counted_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    with span_receiver(*[partial_success(1, "too\nold")] * 2) as receiver, exporting(receiver.url) as running:
        for count in (1, 2):
            running.exporter.add(trace("a", "b"))
            wait_for("the counts", lambda: (running.count(EXPORTED), running.count(LOST, REJECTED)) == (count, count))  # noqa: B023
    assert [each.getMessage() for each in caplog.records] == [f"{receiver.url}/v1/traces rejects spans: too old"]


def test_a_collector_cannot_reject_more_than_was_sent() -> None:
    with span_receiver(partial_success(2**62, "")) as receiver, exporting(receiver.url) as running:
        running.exporter.add(trace("a", "b"))
        wait_for("the count", lambda: running.count(LOST, REJECTED) == 2)
        assert running.count(EXPORTED) == 0


def test_a_collector_that_comes_late_gets_every_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_DELAY", 0.01)
    (port,) = free_ports(1)
    with exporting(f"http://{HOST}:{port}") as running:
        running.exporter.add(trace("a"))
        wait_for("a failure", lambda: running.exporter.error)
        with span_receiver(port=port) as receiver:
            receiver.wait("the span", len)


def test_the_queue_is_bounded() -> None:
    (port,) = free_ports(1)
    running = Running(f"http://{HOST}:{port}", max_spans=3)
    running.exporter.add(trace("a", "b"))
    running.exporter.add(trace("c", "d"))
    assert running.count(LOST, QUEUE_FULL) == 2
    running.exporter.add(trace("e"))
    running.exporter.stop(0.1)
    assert running.count(LOST, STOPPED) == 3


def test_a_stop_sends_what_is_queued() -> None:
    with span_receiver() as receiver:
        running = Running(receiver.url, interval=600.0)
        for _ in range(3 * BATCH_SIZE):
            running.exporter.add(trace("a"))
        running.exporter.stop(10.0)
        assert len(receiver.spans()) == 3 * BATCH_SIZE


@pytest.mark.parametrize("was_reached", [True, False])
def test_a_stop_waits_less_for_a_collector_that_was_never_reached(
    was_reached: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "UNREACHED_TIMEOUT", 0.0)
    for name in ("FIRST_DELAY", "MAX_DELAY"):
        monkeypatch.setattr(module, name, 600.0)  # only the stop sends it again
    with span_receiver() as receiver:
        running = Running(receiver.url)
        if was_reached:
            running.exporter.add(trace("a"))
            wait_for("the span", lambda: running.count(EXPORTED) == 1)
        receiver.replies = list[Reply](50 * [(503, {}, b"")])
        running.exporter.add(trace("b"))
        wait_for("a failure", lambda: running.exporter.error)
        receiver.replies = []
        running.exporter.stop(10.0)
        assert [span["name"] for span in receiver.spans()] == (["a", "b"] if was_reached else [])


def test_a_stop_repeats_a_failed_request() -> None:
    with span_receiver((503, {}, b""), (503, {}, b"")) as receiver:
        running = Running(receiver.url, interval=600.0)
        running.exporter.add(trace("a"))
        running.exporter.stop(10.0)
        assert len(receiver.spans()) == 1


def broken_trace() -> KeptTrace:
    def broken(name: str) -> str:
        raise KeyError(name)

    failing = trace("a")
    failing.records = [(*failing.records[0][:1], SpanType(SpanKind.INTERNAL, broken, dict), *failing.records[0][2:])]
    return failing


def test_a_span_that_cannot_be_encoded_does_not_end_the_thread() -> None:
    with span_receiver() as receiver, exporting(receiver.url) as running:
        running.exporter.add(broken_trace())
        wait_for("the loss", lambda: running.count(LOST, REJECTED) == 1)
        running.exporter.add(trace("b"))
        receiver.wait("the next trace", len)


def test_a_span_that_cannot_be_encoded_does_not_lose_the_others(caplog: pytest.LogCaptureFixture) -> None:
    with span_receiver() as receiver:
        running = Running(receiver.url, interval=600.0)
        for each in (trace("a"), broken_trace(), trace("b"), broken_trace()):
            running.exporter.add(each)
        running.exporter.stop(10.0)
        assert [span["name"] for span in receiver.spans()] == ["a", "b"]
    assert (running.count(EXPORTED), running.count(LOST, REJECTED)) == (2, 2)
    assert len(caplog.records) == 1


@pytest.mark.parametrize("encoding", ["protobuf", "json"])
def test_secrets_are_masked_in_all_texts(encoding: Literal["protobuf", "json"]) -> None:
    url = "redis://user:s3cr3t@db/"
    values = {"short": url, "all": [[url]], "long": url * 100, "password": "s3cr3t", "api_key": 1234567, url: 1}
    kind = SpanType(SpanKind.CLIENT, lambda name: name, lambda name: values)
    root = Span(Trace(TraceContext("id", "a" * 32, [])))
    root.add_event(url, values)
    kept = KeptTrace(root.trace, [(None, kind, 0.0, 0.0, (url,), "", root)])
    endpoint = endpoint_of(TracingConfig.model_validate({}), {})._replace(encoding=encoding)
    redactor = Redactor(redact_configured=lambda text: text.replace("s3cr3t", "***"))
    body = OtlpSink(endpoint, ServiceResource({}, "1"), redactor)._body([kept])
    assert body.count(b"redis://") == 2 * 103 + 2
    assert b"s3cr3t" not in body
    assert b"1234567" not in body


def heavy_trace(text: str) -> KeptTrace:
    kept = trace(text)
    kept.weight = len(text)
    return kept


def test_requests_are_bounded_by_their_texts() -> None:
    with span_receiver() as receiver:
        running = Running(receiver.url, interval=600.0)
        for _ in range(10):
            running.exporter.add(heavy_trace("x" * (MAX_BATCH_WEIGHT // 2)))
        running.exporter.stop(20.0)
        assert [len(request.spans()) for request in receiver.requests] == [2] * 5


def test_the_queue_is_bounded_by_its_texts() -> None:
    with span_receiver() as receiver:
        running = Running(receiver.url, max_spans=1000)
        for _ in range(2):
            kept = [trace("a") for _ in range(3)]
            for each in kept:
                each.weight = MAX_QUEUED_WEIGHT // 2 + 1
            with running.exporter._changed:  # nothing is sent meanwhile
                for each in kept:
                    running.exporter.add(each)
            wait_for("the queue", lambda: running.exporter._queued == 0)
        assert running.count(LOST, QUEUE_FULL) == 2
        running.exporter.stop(10.0)
        assert len(receiver.spans()) == 4
