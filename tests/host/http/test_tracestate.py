"""The propagation of ``tracestate`` by W3C Trace Context."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalekit.http.trace_context import parse_trace_context
from scalekit.http.tracestate import MAX_LENGTH, parse_tracestate

PARENT = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
KEY = "abcdefghijklmnopqrstuvwxyz0123456789_-*/"
VALUE = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) not in ",=")
THIRTY_TWO = ",".join(f"bar{number:02}={number:02}" for number in range(32))


def sent(*values: str) -> str:
    """Return the propagated list of headers with *values*."""
    headers = [(b"traceparent", PARENT), *((b"tracestate", value.encode("latin-1")) for value in values)]
    return parse_trace_context(headers).headers().get("tracestate", "")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["foo=1"], "foo=1"),
        (["foo=1,bar=2"], "foo=1,bar=2"),
        (["foo=1,bar=2", "rojo=1,congo=2", "baz=3"], "foo=1,bar=2,rojo=1,congo=2,baz=3"),
        (["foo=1 \t , \t bar=2, \t baz=3"], "foo=1,bar=2,baz=3"),
        (["foo=1\t \t,\t \tbar=2,\t \tbaz=3"], "foo=1,bar=2,baz=3"),
        (["\t foo=1 \t"], "foo=1"),
        (["foo= 1"], "foo= 1"),
        (["foo=a b"], "foo=a b"),
        ([""], ""),
        (["", "foo=1"], "foo=1"),
        (["foo=1", ""], "foo=1"),
        (["foo=1,,bar=2"], "foo=1,bar=2"),
        (["foo=1, ,bar=2,"], "foo=1,bar=2"),
        ([f"{KEY}={VALUE}"], f"{KEY}={VALUE}"),
        ([f"{KEY}@a-z0-9_-*/={VALUE}"], f"{KEY}@a-z0-9_-*/={VALUE}"),
        (["0foo=1"], "0foo=1"),
        (["0tenant@vendor=1"], "0tenant@vendor=1"),
        (["foo@=1,bar=2"], "foo@=1,bar=2"),
        (["foo@@bar=1,bar=2"], "foo@@bar=1,bar=2"),
        (["foo@bar@baz=1,bar=2"], "foo@bar@baz=1,bar=2"),
        (["foo@0bar=1"], "foo@0bar=1"),
        (["foo=1", "t" * 242 + "@v=1"], "foo=1," + "t" * 242 + "@v=1"),
        (["foo=1", "t@" + "v" * 15 + "=1"], "foo=1,t@" + "v" * 15 + "=1"),
        (["foo=1,foo=1"], "foo=1"),
        (["foo=1,foo=2,bar=1"], "foo=1,bar=1"),
        (["foo=1", "bar=1", "foo=2"], "foo=1,bar=1"),
        ([THIRTY_TWO], THIRTY_TWO),
        (["foo=1", "z" * 256 + "=1"], "foo=1," + "z" * 256 + "=1"),
        (["foo=1", "t" * 241 + "@" + "v" * 14 + "=1"], "foo=1," + "t" * 241 + "@" + "v" * 14 + "=1"),
        (["foo=" + "v" * 256], "foo=" + "v" * 256),
    ],
)
def test_a_valid_list_is_propagated(values: list[str], expected: str) -> None:
    assert sent(*values) == expected


@pytest.mark.parametrize(
    "values",
    [
        ["foo =1"],
        ["FOO=1"],
        ["foo.bar=1"],
        ["foo:bar=1"],
        ["_foo=1"],
        ["*=1"],
        ["@foo=1,bar=2"],
        ["foo=bar=baz"],
        ["foo=,bar=3"],
        ["foo"],
        ["=1"],
        ["="],
        ["foo=1\x7f"],
        ["foo=1\x00"],
        ["foo=a\tb"],
        ["foo=\xe4"],
        ["foo=1", "z" * 257 + "=1"],
        ["foo=" + "v" * 257],
        [THIRTY_TWO + ",one=more"],
        [THIRTY_TWO, "one=more"],
        ["x" * 60_000],
        ["," * 60_000],
    ],
)
def test_an_invalid_list_is_dropped(values: list[str]) -> None:
    assert sent(*values) == ""


def test_without_a_valid_traceparent_the_list_is_dropped() -> None:
    for parent in ([], [(b"traceparent", PARENT), (b"traceparent", PARENT)], [(b"traceparent", b"00")]):
        assert "tracestate" not in parse_trace_context([*parent, (b"tracestate", b"foo=1")]).headers()


def test_a_list_that_is_too_long_loses_long_members_first() -> None:
    small = [f"k{number}=" + "v" * 90 for number in range(6)]
    large = "large=" + "v" * 200
    assert sent(large, *small[:4]) == ",".join(small[:4])
    assert sent(*small) == ",".join(small[:5])
    assert len(sent(*small)) <= MAX_LENGTH


@given(
    st.binary(max_size=600) | st.lists(st.sampled_from([b"a=1", b"b=2", b",", b" ", b"\t", b"=", b"@"])).map(b"".join)
)
def test_a_propagated_list_is_valid_and_stable(state: bytes) -> None:
    once = parse_tracestate(state)
    assert len(once) <= MAX_LENGTH
    assert parse_tracestate(once.encode()) == once
