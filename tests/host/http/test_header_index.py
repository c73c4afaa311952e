from __future__ import annotations

import pytest

from scalekit.http import header_index
from scalekit.http.header_index import IndexedNames, index_headers

NAMES = IndexedNames([(b"a", b"b"), frozenset((b"c",))])


def test_the_first_value_of_each_header_that_is_read_and_all_of_those_that_come_again() -> None:
    headers = [(b"a", b"1"), (b"x", b"2"), (b"c", b"3"), (b"a", b"4"), (b"x", b"5"), (b"a", b"6"), (b"c", b"7")]
    found, repeated = index_headers(headers, NAMES)
    assert found == {b"a": b"1", b"c": b"3"}
    assert repeated == {b"a": [b"1", b"4", b"6"], b"c": [b"3", b"7"]}


def test_a_request_without_repeated_headers_leaves_nothing_to_the_next() -> None:
    index_headers([(b"a", b"1"), (b"a", b"2")], NAMES)
    assert index_headers([(b"a", b"1"), (b"b", b"2")], NAMES) == ({b"a": b"1", b"b": b"2"}, {})


def test_names_that_clients_invent_are_not_remembered_without_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(header_index, "MAX_NAMES", 10)
    names = IndexedNames([(b"a",)])
    for number in range(100):
        assert names[b"x-%d" % number] is False
        assert names[b"a"] is True
        assert len(names) <= 10
