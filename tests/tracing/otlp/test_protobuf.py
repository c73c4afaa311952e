"""Both encodings against the generated classes of opentelemetry-proto."""

from __future__ import annotations

import json
from base64 import b64encode
from collections import Counter
from typing import Any

from google.protobuf.json_format import ParseDict
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from scalekit import Redactor
from scalekit.telemetry import MAX_ATTRIBUTES, MAX_TEXT, FinishedSpan, SpanEvent, SpanKind, SpanLink, SpanRedactor
from scalekit_tracing.otlp.json_format import JsonEncoder
from scalekit_tracing.otlp.protobuf import ProtobufEncoder
from scalekit_tracing.otlp.resource import ServiceResource
from tests.tracing.span_receiver import attributes, decoded

RESOURCE = ServiceResource({"service.name": "shop"}, "1.0")
PROTOBUF, JSON = (encoder(RESOURCE, SpanRedactor(Redactor())) for encoder in (ProtobufEncoder, JsonEncoder))


def hexadecimal(digits: int) -> st.SearchStrategy[str]:
    return st.text("0123456789abcdef", min_size=digits, max_size=digits)


texts = st.text(max_size=20)
values = st.recursive(
    texts | st.booleans() | st.integers() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)
attribute_sets = st.dictionaries(texts, values, max_size=5)
times = st.integers(0, 2**63)
spans = st.builds(
    FinishedSpan,
    hexadecimal(32),
    hexadecimal(16),
    st.just("") | hexadecimal(16),
    st.integers(0, 3),
    st.just("") | st.just("vendor=1"),
    texts,
    st.sampled_from(SpanKind),
    times,
    times,
    attribute_sets,
    texts,
    st.lists(st.builds(SpanEvent, texts, times, attribute_sets), max_size=2),
    st.lists(st.builds(SpanLink, hexadecimal(32), hexadecimal(16)), max_size=2),
    st.booleans(),
    error_message=texts,
    is_ok=st.booleans(),
    scope=st.none() | st.tuples(texts, texts),
)


def from_json(text: bytes) -> ExportTraceServiceRequest:
    """Return the message of OTLP's JSON *text*, whose ids are hexadecimal and not base64."""

    def with_base64(item: Any) -> Any:
        if isinstance(item, list):
            return [with_base64(each) for each in item]
        if not isinstance(item, dict):
            return item
        return {
            name: base64(value) if name in ("traceId", "spanId", "parentSpanId") else with_base64(value)
            for name, value in item.items()
        }

    def base64(digits: str) -> str:
        return b64encode(bytes.fromhex(digits)).decode()

    message = ExportTraceServiceRequest()
    ParseDict(with_base64(json.loads(text)), message)
    return message


@given(st.lists(spans, max_size=3))
def test_both_encodings_are_the_same_message(batch: list[FinishedSpan]) -> None:
    binary = ExportTraceServiceRequest.FromString(PROTOBUF.encode(batch))
    expected = from_json(JSON.encode(batch))
    assert binary == expected
    sent = {(each.scope.name, each.scope.version): len(each.spans) for each in binary.resource_spans[0].scope_spans}
    own = ("scalekit", RESOURCE.version)
    assert sent == Counter(decodable(each.scope or own) for each in batch)


def decodable(scope: tuple[str, str]) -> tuple[str, ...]:
    """Return *scope* as it is encoded: without surrogates."""
    return tuple(each.encode("utf-8", "replace").decode() for each in scope)


def test_status() -> None:
    span = FinishedSpan("1" * 32, "2" * 16, "", 1, "", "n", SpanKind.INTERNAL, 1, 2, {}, "")
    failed = span._replace(error="ValueError", error_message="no sku")
    for encoder in (PROTOBUF, JSON):
        body = decoded(encoder.content_type, encoder.encode([span, span._replace(is_ok=True), failed]))
        found = [each.get("status") for each in body["resourceSpans"][0]["scopeSpans"][0]["spans"]]
        assert found == [None, {"code": 1}, {"code": 2, "message": "no sku"}]


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_bounds_and_odd_values() -> None:
    odd: dict[str, Any] = {
        "long": "x" * (MAX_TEXT + 1),
        "big": 2**70,
        "bytes": b"\xff",
        "unprintable": Unprintable(),
        "surrogate": "\ud800",
        **{f"a{number}": number for number in range(MAX_ATTRIBUTES)},
    }
    span = FinishedSpan("1" * 32, "2" * 16, "", 1, "", "name", SpanKind.INTERNAL, 1, 2, odd, "")
    for encoder in (PROTOBUF, JSON):
        body = decoded(encoder.content_type, encoder.encode([span]))
        found = body["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
        assert found["droppedAttributesCount"] == 5
        sent = attributes(found)
        assert len(sent) == MAX_ATTRIBUTES
        assert sent["long"] == "x" * MAX_TEXT
        assert sent["big"] == str(2**70)
        assert sent["unprintable"] == "<Unprintable: RuntimeError>"
        assert sent["surrogate"] == "?"


def test_numbers_that_json_lacks() -> None:
    odd = {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}
    span = FinishedSpan("1" * 32, "2" * 16, "", 1, "", "n", SpanKind.INTERNAL, 1, 2, odd, "")
    binary = ExportTraceServiceRequest.FromString(PROTOBUF.encode([span]))
    read = from_json(JSON.encode([span]))
    for message in (binary, read):
        sent = message.resource_spans[0].scope_spans[0].spans[0].attributes
        assert [str(each.value.double_value) for each in sent] == ["nan", "inf", "-inf"]


def test_true_and_one_stay_apart() -> None:
    span = FinishedSpan("1" * 32, "2" * 16, "", 1, "", "n", SpanKind.INTERNAL, 1, 2, {"a": True, "b": 1, "c": 1.0}, "")
    message = ExportTraceServiceRequest.FromString(PROTOBUF.encode([span]))
    kinds = [each.value.WhichOneof("value") for each in message.resource_spans[0].scope_spans[0].spans[0].attributes]
    assert kinds == ["bool_value", "int_value", "double_value"]
