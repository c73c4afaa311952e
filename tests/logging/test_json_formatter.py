from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from scalekit import Redactor
from scalekit.http.trace_context import parse_trace_context
from scalekit_logging.json_formatter import (
    LEVEL_OFFSET,
    MAX_LINE_BYTES,
    FieldNameCache,
    JsonFormatter,
    TimestampFormatter,
)
from tests.logging.log_capture import Line, parse

FORMATTER = JsonFormatter({"service": "shop", "region": "eu"}, Redactor())
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACE_CONTEXT = parse_trace_context(
    [(b"x-request-id", b"abc"), (b"traceparent", f"00-{TRACE}-00f067aa0ba902b7-01".encode())]
)


class Broken:
    def __repr__(self) -> str:
        raise ValueError("no repr")


class Recursive:
    def __str__(self) -> str:
        return str(self)


def format_event(event: object, **fields: Any) -> Line:
    (line,) = parse(FORMATTER.format(logging.INFO, "shop.orders", event, fields, TRACE_CONTEXT))
    return line


def cyclic() -> list[Any]:
    one: list[Any] = [1]
    one.append({"again": one})
    return one


def huge() -> int:
    return 10**5000


def deep() -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(10_000):
        value = {"in": value}
    return value


hostile_text = st.text(st.characters(categories=None)) | st.sampled_from(
    ["\r\n{}", "\x1b[31mred\x1b[0m", "\x00", "\ud800", "\u2028", '"},{"', "\\", "%s %n", "a" * 100_000]
)
short_text = st.text(max_size=500) | st.sampled_from(
    [
        'a "quoted" \\ text',
        "token=abc",
        "s3cret",
        "password:",
        "'abc'",
        "\ud800",
        "Cookie: a=1; b=2\nHost: x",
        "eyJhbGci.e30.c2ln",
    ]
)
hostile_name = short_text | st.sampled_from(["password", "level", "region", "iban", "n" * 129, "api_key", "a=b"])
plain = st.none() | st.booleans() | st.integers() | st.floats() | short_text
simple = st.none() | st.booleans() | st.integers() | st.floats() | hostile_text | st.binary(max_size=100)
objects = st.builds(Broken) | st.builds(Recursive) | st.builds(cyclic) | st.builds(huge) | st.uuids() | st.datetimes()
values = st.recursive(
    simple | objects,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(simple | st.tuples(st.integers()), inner, max_size=5)
        | st.tuples(inner, inner)
        | st.frozensets(simple, max_size=3)
    ),
    max_leaves=20,
)


@given(event=values, fields=st.dictionaries(hostile_text, values, max_size=8), logger=hostile_text)
@settings(max_examples=300)
def test_any_event_is_one_valid_line_of_bounded_length(event: object, fields: Mapping[str, Any], logger: str) -> None:
    data = FORMATTER.format(logging.ERROR, logger, event, fields, TRACE_CONTEXT)
    assert data.count(b"\n") == 1
    assert len(data) <= MAX_LINE_BYTES + 1
    (line,) = parse(data)
    assert list(line)[:8] == ["timestamp", "level", "event", "logger", "service", "region", "request_id", "trace_id"]
    assert (line["level"], line["service"], line["request_id"], line["trace_id"]) == ("error", "shop", "abc", TRACE)
    assert data[LEVEL_OFFSET:].startswith(b'error"')


class TextSubclass(str):
    """Not a simple type: selects the general code path."""


@given(event=short_text, fields=st.dictionaries(hostile_name, plain, max_size=8), logger=short_text)
@settings(max_examples=500)
def test_the_fast_path_returns_the_same_bytes_as_the_general_one(
    event: str, fields: Mapping[str, Any], logger: str
) -> None:
    for formatter in (FORMATTER, JsonFormatter({}, Redactor(["iban"], lambda text: text.replace("s3cret", "***")))):
        fast = formatter.format(logging.ERROR, logger, event, fields, TRACE_CONTEXT)
        general = formatter.format(logging.ERROR, logger, TextSubclass(event), fields, TRACE_CONTEXT)
        assert fast[LEVEL_OFFSET:] == general[LEVEL_OFFSET:]


def test_keys_are_in_order_and_conflicting_fields_are_renamed() -> None:
    line = format_event("order placed", order=7, level="mine", region="us", timestamp=1)
    assert line.pop("timestamp")
    assert line == {
        "level": "info",
        "event": "order placed",
        "logger": "shop.orders",
        "service": "shop",
        "region": "eu",
        "request_id": "abc",
        "trace_id": TRACE,
        "order": 7,
        "level_": "mine",
        "region_": "us",
        "timestamp_": 1,
    }
    assert list(format_event("x", level=Broken())) == [*format_event("x"), "level_"]


def test_a_line_outside_a_request_has_no_ids() -> None:
    (line,) = parse(FORMATTER.format(logging.INFO, "a", "b", {}, None))
    assert "request_id" not in line
    assert "trace_id" not in line


def test_the_cache_of_field_names_is_bounded() -> None:
    names = FieldNameCache(frozenset(), Redactor())
    for number in range(12_000):
        assert names[f"name{number}"] == (f"name{number}", False)
    assert len(names) <= 10_000


def test_a_line_of_many_long_fields_is_bounded() -> None:
    fields = {f"name{number}{'-' * 1000}": "\x00" * 10_000 for number in range(1000)}
    data = FORMATTER.format(logging.INFO, "a" * 10_000, "b" * 100_000, fields, TRACE_CONTEXT)
    assert len(data) <= MAX_LINE_BYTES
    parse(data)


def test_timestamps_are_rfc_3339_in_utc() -> None:
    formatter = TimestampFormatter()
    assert formatter.format(0.0) == "1970-01-01T00:00:00.000000Z"
    assert formatter.format(0.25) == "1970-01-01T00:00:00.250000Z"
    assert formatter.format(1_700_000_000.999999)[:25] == "2023-11-14T22:13:20.99999"
    assert format_event("x")["timestamp"][:17] in {
        time.strftime("%Y-%m-%dT%H:%M:", time.gmtime(time.time() - ago)) for ago in (0, 30)
    }


def test_not_a_number_is_null() -> None:
    assert format_event("x", value=math.nan)["value"] is None
