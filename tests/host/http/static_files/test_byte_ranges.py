from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalekit.http.static_files.byte_ranges import MAX_RANGES, parse_ranges


@pytest.mark.parametrize(
    ("value", "ranges"),
    [
        ("bytes=0-0", [range(1)]),
        ("bytes=0-", [range(10)]),
        ("bytes=-3", [range(7, 10)]),
        ("bytes=-30", [range(10)]),
        ("bytes=5-99999999999999999999999", [range(5, 10)]),
        ("bytes=-" + 5000 * "9", [range(10)]),
        ("BYTES=0-1", [range(2)]),
        ("bytes=0-1, 4-5", [range(2), range(4, 6)]),
        ("bytes=4-5,0-1", [range(4, 6), range(2)]),
        ("bytes=0-4,3-6", [range(7)]),
        ("bytes=0-1,2-3", [range(4)]),
        ("bytes=8-9,0-1,1-2", [range(8, 10), range(3)]),
        ("bytes=,0-1,,", [range(2)]),
        ("bytes=0-1,10-", [range(2)]),
        ("bytes=10-", []),
        ("bytes=-0", []),
        ("bytes=" + 5000 * "9" + "-", []),
    ],
)
def test_satisfiable_ranges_are_selected_in_their_order(value: str, ranges: list[range]) -> None:
    assert parse_ranges(value, 10) == ranges


MALFORMED = ["-", "1", "2-1", "0-1,2-1", "a-b", "+1-2", "1_0-", "٣-", "1 - 2", "--1", "0-1-2", "0x1-2", "", ","]


@pytest.mark.parametrize("value", ["", "bytes", "lines=0-1", *(f"bytes={text}" for text in MALFORMED)])
def test_malformed_ranges_and_other_units_are_ignored(value: str) -> None:
    assert parse_ranges(value, 10) is None


def test_too_many_ranges_and_ranges_of_an_empty_file_are_ignored() -> None:
    many = ",".join(f"{2 * start}-{2 * start}" for start in range(MAX_RANGES + 1))
    assert parse_ranges(f"bytes={many}", 1000) is None
    assert parse_ranges("bytes=0-", 0) is None


limits = st.integers(0, 14)
Spec = tuple[int | None, int | None]
specs = st.one_of(st.tuples(limits, limits), st.tuples(limits, st.none()), st.tuples(st.none(), limits))


def selected_positions(spec: Spec, size: int) -> set[int]:
    first, last = spec
    if first is None:
        return set(range(size)[-last:]) if last else set()
    return {position for position in range(size) if first <= position <= (size if last is None else last)}


def is_malformed(spec: Spec) -> bool:
    return spec[0] is not None and spec[1] is not None and spec[1] < spec[0]


@given(st.lists(specs, min_size=1, max_size=6), st.integers(1, 12))
def test_exactly_the_bytes_of_a_simple_model_are_sent_once(asked: list[Spec], size: int) -> None:
    text = ",".join("-".join("" if limit is None else str(limit) for limit in spec) for spec in asked)
    found = parse_ranges(f"bytes={text}", size)
    if any(map(is_malformed, asked)):
        assert found is None
        return
    assert found is not None
    sent = [position for part in found for position in part]
    assert len(sent) == len(set(sent))
    assert set(sent) == set().union(*(selected_positions(spec, size) for spec in asked))
    assert all(part.stop != other.start for part in found for other in found)
    firsts = [min(found.index(part) for part in found if each <= set(part)) for each in _distinct(asked, size)]
    assert list(dict.fromkeys(firsts)) == sorted(set(firsts))


def _distinct(asked: list[Spec], size: int) -> list[set[int]]:
    return [positions for spec in asked if (positions := selected_positions(spec, size))]


@given(st.text(max_size=40), st.integers(0, 20))
def test_no_text_is_an_error(value: str, size: int) -> None:
    for found in (parse_ranges(value, size), parse_ranges(f"bytes={value}", size)):
        assert found is None or all(0 <= each.start < each.stop <= size for each in found)
