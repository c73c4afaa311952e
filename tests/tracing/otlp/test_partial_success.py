"""What a response says of rejected spans, against the generated classes of opentelemetry-proto."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)

from scalekit_tracing.otlp.failure import excerpt
from scalekit_tracing.otlp.partial_success import PartialSuccess, partial_success


@given(st.integers(0, 2**63 - 1), st.text(max_size=300))
def test_number_and_message_are_read(number: int, message: str) -> None:
    partial = ExportTracePartialSuccess(rejected_spans=number, error_message=message)
    encoded = ExportTraceServiceResponse(partial_success=partial).SerializeToString()
    expected = PartialSuccess(number, excerpt(message))
    assert partial_success(encoded, "protobuf") == expected
    text = json.dumps({"partialSuccess": {"rejectedSpans": str(number), "errorMessage": message}})
    assert partial_success(text.encode(), "json") == expected


@given(st.binary(max_size=30))
def test_nonsense_is_no_error(content: bytes) -> None:
    for encoding in ("protobuf", "json"):
        assert partial_success(content, encoding).rejected_spans >= 0
