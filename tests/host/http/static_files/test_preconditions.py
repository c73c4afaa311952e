from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalekit.http.static_files.preconditions import Validators, allows_range, failed_precondition

STRONG = Validators('"a-b"', 784111777)
WEAK = Validators('W/"a-b"', 784111777)
BEFORE = "Sun, 06 Nov 1994 08:49:36 GMT"
THEN = "Sun, 06 Nov 1994 08:49:37 GMT"
OLD_FORMATS = ("Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994")


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, 0),
        ({"if-none-match": '"a-b"'}, 304),
        ({"if-none-match": 'W/"a-b"'}, 304),
        ({"if-none-match": '"x", "a-b"'}, 304),
        ({"if-none-match": '"x,\\"a-b", "y"'}, 0),
        ({"if-none-match": "*"}, 304),
        ({"if-none-match": "a-b"}, 0),
        ({"if-none-match": '"x"', "if-modified-since": THEN}, 0),
        ({"if-modified-since": THEN}, 304),
        *(({"if-modified-since": date}, 304) for date in OLD_FORMATS),
        ({"if-modified-since": BEFORE}, 0),
        ({"if-modified-since": "yesterday"}, 0),
        ({"if-match": '"a-b"'}, 0),
        ({"if-match": "*"}, 0),
        ({"if-match": '"x"'}, 412),
        ({"if-match": 'W/"a-b"'}, 412),
        ({"if-match": ""}, 412),
        ({"if-match": '"a-b"', "if-unmodified-since": BEFORE}, 0),
        ({"if-match": '"a-b"', "if-none-match": '"a-b"'}, 304),
        ({"if-match": '"x"', "if-none-match": '"a-b"'}, 412),
        ({"if-unmodified-since": THEN}, 0),
        ({"if-unmodified-since": BEFORE}, 412),
        ({"if-unmodified-since": "yesterday"}, 0),
    ],
)
def test_preconditions_are_evaluated_in_the_order_of_the_rfc(fields: dict[str, str], status: int) -> None:
    assert failed_precondition(fields, STRONG) == status


def test_a_weak_tag_matches_if_none_match_and_never_if_match() -> None:
    assert failed_precondition({"if-none-match": '"a-b"'}, WEAK) == 304
    assert failed_precondition({"if-match": '"a-b"'}, WEAK) == 412
    assert failed_precondition({"if-match": "*"}, WEAK) == 0


@pytest.mark.parametrize(
    ("condition", "strong"),
    [('"a-b"', True), ('W/"a-b"', False), ('"x"', False), (THEN, True), (BEFORE, False), ("*", False), ("", False)],
)
def test_if_range_needs_an_equal_strong_validator(condition: str, strong: bool) -> None:
    assert allows_range({"if-range": condition}, STRONG) is strong
    assert not allows_range({"if-range": condition}, WEAK)
    assert not allows_range({"if-range": condition}, None)
    assert allows_range({}, None)


def test_a_file_without_validators_matches_only_a_star() -> None:
    assert failed_precondition({"if-none-match": '"a-b"', "if-unmodified-since": BEFORE}, None) == 0
    assert failed_precondition({"if-modified-since": THEN}, None) == 0
    assert failed_precondition({"if-match": '"a-b"'}, None) == 412
    assert failed_precondition({"if-match": "*"}, None) == 0


FIELDS = ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range")


@given(st.dictionaries(st.sampled_from(FIELDS), st.text(max_size=40)))
def test_no_text_is_an_error(fields: dict[str, str]) -> None:
    assert failed_precondition(fields, STRONG) in (0, 304, 412)
    allows_range(fields, STRONG)


@pytest.mark.parametrize("date", ["Sun, 06 Nov 999999999999 08:49:37 GMT", "Sun, 99 Nov 1994 99:99:99 GMT", "1 1 1 1"])
def test_an_impossible_date_is_no_error(date: str) -> None:
    for name in FIELDS[2:]:
        failed_precondition({name: date}, STRONG)
        allows_range({name: date}, STRONG)
