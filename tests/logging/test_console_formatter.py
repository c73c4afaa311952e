from __future__ import annotations

import logging
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalekit import Redactor
from scalekit.http.trace_context import parse_trace_context
from scalekit_logging.console_formatter import escape_controls, format_coloured, format_json, format_plain
from scalekit_logging.json_formatter import JsonFormatter

FORMATTER = JsonFormatter({"service": "shop"}, Redactor())
COLOUR_CODES = re.compile("\x1b\\[(?:0|2|1|31|32|33|1;31)m")


def format_row(event: str, **fields: object) -> str:
    line = FORMATTER.format(
        logging.WARNING, "shop.orders", event, fields, parse_trace_context([(b"x-request-id", b"abc")])
    )
    return b"".join(format_plain([line])).decode()


def test_a_line_is_a_row_with_its_fields_and_indented_blocks() -> None:
    row = format_row("order placed", order=7, note="two words", nested={"a": [1]}, exception="Traceback\n  File x")
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d\.\d{3} WARNING  order placed logger=shop\.orders service=shop request_id=abc order=7"
        r' note="two words" nested=\{"a":\[1\]\}\n    Traceback\n      File x\n',
        row,
    )


@given(text=st.text(st.characters(exclude_categories=["Cs"])), name=st.text(st.characters(exclude_categories=["Cs"])))
def test_no_control_character_of_a_line_reaches_the_terminal(text: str, name: str) -> None:
    line = FORMATTER.format(logging.CRITICAL, text, text, {name: text, "exception": text, "x": {name: text}}, None)
    for format_lines in (format_plain, format_coloured):
        shown = COLOUR_CODES.sub("", b"".join(format_lines([line])).decode())
        assert re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]", shown) is None
        assert all(row.startswith("    ") for row in shown.rstrip("\n").split("\n")[1:])
    assert format_json([line]) == [line]


@pytest.mark.parametrize("level", [10, 20, 30, 40, 50])
def test_each_level_has_a_colour_that_is_reset(level: int) -> None:
    (row,) = format_coloured([FORMATTER.format(level, "shop", "event", {}, None)])
    assert row.count(b"\x1b[0m") * 2 == row.count(b"\x1b[")


def test_control_characters_are_escaped() -> None:
    assert escape_controls("\x1b]0;title\x07\u202e\r\n") == "\\u001b]0;title\\u0007\\u202e\\u000d\\u000a"
