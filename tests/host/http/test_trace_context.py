from __future__ import annotations

import os
import re
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalekit.http.trace_context import MAX_CALLS, new_request_id, parse_trace_context, request_id, trace_context_of
from tests.host.asgi import http_scope

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
PASSED_ON = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[0-3]")


@pytest.mark.parametrize(
    ("value", "accepted"),
    [
        (b"abc-1", True),
        (b"a" * 128, True),
        (b"a" * 129, False),
        (b"", False),
        (b"two words", False),
        (b"line\r\nfeed", False),
        (b"end\n", False),
        (b"\xff", False),
        (b'"quoted"', False),
    ],
)
def test_a_well_formed_request_id_is_used(value: bytes, accepted: bool) -> None:
    found = parse_trace_context([(b"x-request-id", value)]).request_id
    assert (found == value.decode("latin-1")) is accepted
    assert accepted or re.fullmatch("[0-9a-f]{32}", found)


def test_a_repeated_request_id_is_replaced() -> None:
    assert parse_trace_context([(b"x-request-id", b"a"), (b"x-request-id", b"b")]).request_id not in ("a", "b")


@pytest.mark.parametrize(
    ("value", "valid"),
    [
        (f"00-{TRACE}-{PARENT}-01", True),
        (f"00-{TRACE}-{PARENT}-00", True),
        (f"cc-{TRACE}-{PARENT}-01-what-the-future-will-be-like", True),
        (f"cc-{TRACE}-{PARENT}-01.what", False),
        (f"00-{TRACE}-{PARENT}-01-more", False),
        (f"ff-{TRACE}-{PARENT}-01", False),
        (f"00-{'0' * 32}-{PARENT}-01", False),
        (f"00-{TRACE}-{'0' * 16}-01", False),
        (f"00-{TRACE.upper()}-{PARENT}-01", False),
        (f"00-{TRACE}-{PARENT}", False),
        (f"00-{TRACE}-{PARENT}-1", False),
        (f"00-{TRACE}-{PARENT}-01\n", False),
        (f"0-{TRACE}-{PARENT}-01", False),
    ],
)
def test_a_valid_traceparent_continues_its_trace(value: str, valid: bool) -> None:
    context = parse_trace_context([(b"traceparent", value.encode()), (b"tracestate", b"vendor=1")])
    assert (context.trace_id == TRACE) is valid
    assert context.parent_id == (PARENT if valid else "")
    assert context.tracestate == ("vendor=1" if valid else "")


@pytest.mark.parametrize("headers", [[], [(b"traceparent", f"00-{TRACE}-{PARENT}-01".encode())]])
def test_each_outgoing_call_has_a_new_recorded_span_id(headers: list[tuple[bytes, bytes]]) -> None:
    context = parse_trace_context([(b"x-request-id", b"abc"), *headers])
    sent = [context.headers() for _ in range(3)]
    assert {each["x-request-id"] for each in sent} == {"abc"}
    parts = [each["traceparent"].split("-") for each in sent]
    assert {(version, trace) for version, trace, _, _ in parts} == {("00", context.trace_id)}
    spans = [span for _, _, span, _ in parts]
    assert context.calls == spans
    assert len({PARENT, *spans}) == 4


def test_the_recorded_span_ids_are_bounded() -> None:
    context = parse_trace_context([])
    for _ in range(2 * MAX_CALLS):
        context.headers()
    assert len(context.calls) == MAX_CALLS
    assert parse_trace_context([]).calls == []


@pytest.mark.parametrize(
    ("flags", "sent"), [("00", "00"), ("01", "01"), ("02", "02"), ("03", "03"), ("ff", "03"), ("fc", "00")]
)
@pytest.mark.parametrize("version", ["00", "01", "cc"])
def test_known_flags_are_propagated_and_others_are_zero(version: str, flags: str, sent: str) -> None:
    context = parse_trace_context([(b"traceparent", f"{version}-{TRACE}-{PARENT}-{flags}".encode())])
    assert re.fullmatch(f"00-{TRACE}-[0-9a-f]{{16}}-{sent}", context.headers()["traceparent"])


@pytest.mark.parametrize("blanks", [" {}", "\t{}", "{} ", "{}\t", "\t {} \t"])
def test_whitespace_around_a_traceparent_is_ignored(blanks: str) -> None:
    value = blanks.format(f"00-{TRACE}-{PARENT}-01").encode()
    assert parse_trace_context([(b"traceparent", value)]).trace_id == TRACE


def test_ids_are_unique_also_in_a_forked_process() -> None:
    ids = {new_request_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(re.fullmatch("[0-9a-f]{32}", each) for each in ids)
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # pytest may have threads
        child = os.fork()
    if child == 0:
        os.write(write, "".join(new_request_id() for _ in range(200)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    text = os.read(read, 200 * 32).decode()
    os.close(read)
    os.close(write)
    assert {text[place : place + 32] for place in range(0, len(text), 32)}.isdisjoint(
        new_request_id() for _ in range(200)
    )


def test_repeated_tracestate_headers_are_propagated_as_one_list() -> None:
    headers = [
        (b"traceparent", f"00-{TRACE}-{PARENT}-01".encode()),
        (b"tracestate", b"a=1"),
        (b"tracestate", b"b=2"),
    ]
    assert parse_trace_context(headers).headers()["tracestate"] == "a=1,b=2"


def test_a_request_has_one_trace_context() -> None:
    scope = http_scope()
    assert request_id(scope) == request_id(scope) == trace_context_of(scope).request_id
    assert request_id(http_scope()) != request_id(scope)


@given(st.lists(st.tuples(st.sampled_from([b"x-request-id", b"traceparent", b"tracestate"]), st.binary(max_size=80))))
def test_outgoing_ids_are_well_formed_for_any_header(headers: list[tuple[bytes, bytes]]) -> None:
    out = parse_trace_context(headers).headers()
    assert PASSED_ON.fullmatch(out["traceparent"])
    assert all(value.isascii() and value.isprintable() for value in out.values())
