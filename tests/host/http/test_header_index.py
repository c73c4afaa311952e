from __future__ import annotations

import pytest

from scalekit.http import header_index
from scalekit.http.header_index import HeaderNames, index_headers

NAMES = HeaderNames({b"a", b"b", b"c"}.__contains__)


def test_the_index_has_first_values_and_all_values_of_repeated_headers() -> None:
    headers = [(b"a", b"1"), (b"x", b"2"), (b"c", b"3"), (b"a", b"4"), (b"x", b"5"), (b"a", b"6"), (b"c", b"7")]
    found, repeated = index_headers(headers, NAMES)
    assert found == {b"a": b"1", b"c": b"3"}
    assert repeated == {b"a": [b"1", b"4", b"6"], b"c": [b"3", b"7"]}


def test_requests_share_no_repeated_headers() -> None:
    index_headers([(b"a", b"1"), (b"a", b"2")], NAMES)
    assert index_headers([(b"a", b"1"), (b"b", b"2")], NAMES) == ({b"a": b"1", b"b": b"2"}, {})


def test_memoized_header_names_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(header_index, "MAX_NAMES", 10)
    names = HeaderNames({b"a"}.__contains__)
    for number in range(100):
        assert names[b"x-%d" % number] is None
        assert names[b"a"] == names[b"A"] == b"a"
        assert len(names) <= 10
