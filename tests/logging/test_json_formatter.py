from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scalekit.http.trace_context import parse_trace_context
from scalekit_logging.json_formatter import LEVEL_AT, LONGEST_LINE, FieldNameCache, JsonFormatter, TimestampFormatter
from scalekit_logging.levels import name_of
from scalekit_logging.redaction import Redactor
from tests.logging.log_capture import Line, parse

LINES = JsonFormatter({"service": "shop", "region": "eu"}, Redactor())
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
IDENTITY = parse_trace_context(
    [(b"x-request-id", b"abc"), (b"traceparent", f"00-{TRACE}-00f067aa0ba902b7-01".encode())]
)


class Pair(NamedTuple):
    a: int
    b: int


class Broken:
    def __repr__(self) -> str:
        raise ValueError("no repr")


class Endless:
    def __str__(self) -> str:
        return str(self)


def shape(event: object, **fields: Any) -> Line:
    (line,) = parse(LINES.line(logging.INFO, "shop.orders", event, fields, IDENTITY))
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
objects = st.builds(Broken) | st.builds(Endless) | st.builds(cyclic) | st.builds(huge) | st.uuids() | st.datetimes()
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
def test_whatever_is_logged_gives_one_valid_line_of_bounded_length(
    event: object, fields: Mapping[str, Any], logger: str
) -> None:
    data = LINES.line(logging.ERROR, logger, event, fields, IDENTITY)
    assert data.count(b"\n") == 1
    assert len(data) <= LONGEST_LINE + 1
    (line,) = parse(data)
    assert list(line)[:8] == ["timestamp", "level", "event", "logger", "service", "region", "request_id", "trace_id"]
    assert (line["level"], line["service"], line["request_id"], line["trace_id"]) == ("error", "shop", "abc", TRACE)
    assert data[LEVEL_AT:].startswith(b'error"')


class Text(str):
    """A text that is no plain one: its line is shaped with care."""


@given(event=short_text, fields=st.dictionaries(hostile_name, plain, max_size=8), logger=short_text)
@settings(max_examples=500)
def test_simple_lines_are_byte_for_byte_as_those_shaped_with_care(
    event: str, fields: Mapping[str, Any], logger: str
) -> None:
    for lines in (LINES, JsonFormatter({}, Redactor(["iban"], lambda text: text.replace("s3cret", "***")))):
        simple = lines.line(logging.ERROR, logger, event, fields, IDENTITY)
        careful = lines.line(logging.ERROR, logger, Text(event), fields, IDENTITY)
        assert simple[LEVEL_AT:] == careful[LEVEL_AT:]


def test_keys_are_in_order_and_those_of_the_line_stay_its_own() -> None:
    line = shape("order placed", order=7, level="mine", region="us", timestamp=1)
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
    assert list(shape("x", level=Broken())) == [*shape("x"), "level_"]


def test_outside_of_a_request_a_line_has_no_ids() -> None:
    (line,) = parse(LINES.line(logging.INFO, "a", "b", {}, None))
    assert "request_id" not in line
    assert "trace_id" not in line


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1.5, 1.5),
        (math.nan, None),
        (10**30, str(10**30)),
        pytest.param(10**5000, "<int that cannot be shown>", id="huge"),
        (Broken(), "<Broken that cannot be shown>"),
        (Endless(), "<Endless that cannot be shown>"),
        (b"caf\xc3\xa9 \xff", "café \\xff"),
        ("\ud800", "\\ud800"),
        ({"a": (1, {2})}, {"a": [1, [2]]}),
        (TimeoutError(), "TimeoutError: "),
        (logging.INFO, 20),
        (Pair(1, 2), "Pair(a=1, b=2)"),
    ],
)
def test_values_are_shown_as_well_as_can_be(value: Any, shown: Any) -> None:
    assert shape("x", value=value)["value"] == shown
    assert shape("x", value=[value])["value"] == [shown]


def test_structures_are_bounded_in_depth_and_number() -> None:
    assert "..." in str(shape("x", value=deep())["value"])
    many = shape("x", value=list(range(100_000)))["value"]
    assert many[:3] == [0, 1, 2]
    assert many[-1] == "..."
    assert shape("x", value=cyclic())["value"][0] == 1


def test_a_long_text_is_cut_in_the_middle() -> None:
    text = shape("x", value=f"begin {'-' * 200_000} end")["value"]
    assert len(text) < 20_000
    assert text.startswith("begin")
    assert text.endswith("end")
    quoted = shape("x", value=f"'begin' \"{'-' * 20_000}\" end")["value"]
    assert len(quoted) < 20_000


def test_names_that_never_come_again_take_no_memory() -> None:
    keys = FieldNameCache(frozenset(), Redactor())
    for number in range(12_000):
        assert keys[f"name{number}"] == (f"name{number}", False)
    assert len(keys) <= 10_000


def test_a_line_of_many_long_fields_stays_bounded() -> None:
    fields = {f"name{number}{'-' * 1000}": "\x00" * 10_000 for number in range(1000)}
    data = LINES.line(logging.INFO, "a" * 10_000, "b" * 100_000, fields, IDENTITY)
    assert len(data) <= LONGEST_LINE
    parse(data)


def test_the_time_is_rfc_3339_in_utc() -> None:
    clock = TimestampFormatter()
    assert clock.stamp(0.0) == "1970-01-01T00:00:00.000000Z"
    assert clock.stamp(0.25) == "1970-01-01T00:00:00.250000Z"
    assert clock.stamp(1_700_000_000.999999)[:25] == "2023-11-14T22:13:20.99999"
    assert shape("x")["timestamp"][:17] in {
        time.strftime("%Y-%m-%dT%H:%M:", time.gmtime(time.time() - ago)) for ago in (0, 30)
    }


@pytest.mark.parametrize(
    ("number", "name"), [(1, "debug"), (10, "debug"), (25, "info"), (30, "warning"), (49, "error"), (999, "critical")]
)
def test_every_number_has_the_name_of_the_level_below(number: int, name: str) -> None:
    assert name_of(number) == name
