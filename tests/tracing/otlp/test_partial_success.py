"""The number of rejected spans in a response, against the generated classes of opentelemetry-proto."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)

from scalekit_tracing.otlp.partial_success import rejected_spans


@given(st.integers(0, 2**63 - 1), st.text(max_size=300))
def test_the_number_is_read(number: int, message: str) -> None:
    partial = ExportTracePartialSuccess(rejected_spans=number, error_message=message)
    encoded = ExportTraceServiceResponse(partial_success=partial).SerializeToString()
    assert rejected_spans(encoded, "protobuf") == number
    text = json.dumps({"partialSuccess": {"rejectedSpans": str(number), "errorMessage": message}})
    assert rejected_spans(text.encode(), "json") == number


@given(st.binary(max_size=30))
def test_nonsense_is_no_error(content: bytes) -> None:
    for encoding in ("protobuf", "json"):
        assert rejected_spans(content, encoding) >= 0
