from __future__ import annotations

from itertools import chain
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalekit import TraceContext
from scalekit_logging.latest_lines import MAX_BYTES, MAX_FOUND, OVERHEAD, LatestLines, LineFilter
from scalekit_logging.levels import ERROR, INFO
from tests.logging.writer_harness import FORMATTER, line, running_writer


def lines_of(*texts: bytes) -> LatestLines:
    latest = LatestLines()
    for text in texts:
        latest.write(text)
    return latest


NONE: Any = {}


def logged(
    event: object = "event", fields: Any = NONE, level: int = INFO, logger: str = "shop", request: str = ""
) -> bytes:
    trace = TraceContext(request, f"trace-of-{request}", []) if request else None
    return FORMATTER.format(level, logger, event, fields, trace)


def test_the_writer_adds_what_it_writes() -> None:
    latest = LatestLines()
    with running_writer(latest) as (writer, _):
        writer.add(line(1))
        writer.add(line(2, ERROR))
    assert [each.fields for each in latest.find(LineFilter())] == ["number=2 more=", "number=1 more="]


@given(st.lists(st.lists(st.integers(0, 20_000), min_size=1, max_size=20), max_size=30))
def test_memory_is_bounded_and_the_newest_lines_are_complete(batches: list[list[int]]) -> None:
    numbered = [line(number, length=length) for number, length in enumerate(chain(*batches))]
    rest, latest = iter(numbered), LatestLines()
    for batch in batches:
        latest.write(b"".join(next(rest) for _ in batch))
    assert latest._size <= MAX_BYTES + OVERHEAD
    found = latest.find(LineFilter())
    newest = [f"number={number}" for number in reversed(range(len(numbered)))]
    assert [each.fields.partition(" ")[0] for each in found] == newest[: len(found)]
    assert len(found) == min(MAX_FOUND, len(numbered)) or sum(map(len, numbered)) > MAX_BYTES // 2


def test_the_oldest_lines_are_forgotten() -> None:
    latest = lines_of(*(line(number, length=30_000) for number in range(100)))
    assert MAX_BYTES // 2 < latest._size <= MAX_BYTES + OVERHEAD
    found = latest.find(LineFilter())
    assert [each.fields.partition(" ")[0] for each in found] == [f"number={99 - place}" for place in range(len(found))]


def test_of_a_batch_above_the_bound_the_last_lines_are_kept() -> None:
    batch = b"".join(line(number, length=1000) for number in range(3000))
    found = lines_of(batch).find(LineFilter())
    assert [each.fields.partition(" ")[0] for each in found[:2]] == ["number=2999", "number=2998"]


@pytest.mark.parametrize(
    ("wanted", "events"),
    [
        (LineFilter(level="error"), ["broken"]),
        (LineFilter(logger="shop"), ["broken", 'Said "Grüß Gott"\n']),
        (LineFilter(text='"grüß gott"\n'), ['Said "Grüß Gott"\n']),
        (LineFilter(text="color=x"), []),
        (LineFilter(text="\ud800"), []),
        (LineFilter(request="r1"), ['Said "Grüß Gott"\n']),
        (LineFilter(request="trace-of-r1"), ['Said "Grüß Gott"\n']),
        (LineFilter(request="r"), []),
        (LineFilter(request="mentioned"), []),
    ],
)
def test_lines_are_found_by_level_logger_text_and_request(wanted: LineFilter, events: list[str]) -> None:
    latest = lines_of(
        logged('Said "Grüß Gott"\n', logger="shop.orders", request="r1"),
        logged("other", {"note": "mentioned"}, logger="shopping"),
        logged("broken", level=ERROR, request="r2"),
    )
    assert [each.event for each in latest.find(wanted)] == events


def test_the_lines_of_a_request_are_in_order() -> None:
    latest = lines_of(
        logged("1", request="r1") + logged("2", request="r2"), logged("3", {"exception": "T"}, request="r1")
    )
    found = latest.of_request("r1")
    assert [(each.event, each.exception) for each in found] == [("1", ""), ("3", "T")]


def test_values_of_any_type_are_texts() -> None:
    latest = lines_of(logged({"a": 1}, {"list": [1, {"b": None}], "big": 1 << 80, "password": "hunter2"}))
    (found,) = latest.find(LineFilter())
    assert all(isinstance(value, str) for value in found)
    assert found.event == '{"a":1}'
    assert "password=***" in found.fields
