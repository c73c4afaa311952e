"""What a head of an answer may hold: exactly what uvicorn lets through, and nothing that ends a line."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from uvicorn.protocols.http.httptools_impl import HEADER_RE, HEADER_VALUE_RE

from scalekit.server import head
from scalekit.server.head import Framing, default_lines, encode, lines

NAMES = st.binary(min_size=1, max_size=6) | st.from_regex(rb"\A[A-Za-z0-9!#$%&'*+.^_`|~-]{1,12}\Z")
VALUES = st.binary(max_size=12) | st.sampled_from([b"", b"\r\n", b"a\r\nb", b"a\r\n", b"\r", b"\n", b"\t", b"\xff"])
HEADERS = st.lists(st.tuples(NAMES, VALUES), max_size=5)


@given(HEADERS)
@example([(b"x-a", b"\r\n"), (b"x-b", b"")])
@example([])
def test_a_head_is_written_or_refused_as_uvicorn_does(headers: list[tuple[bytes, bytes]]) -> None:
    bad = any(HEADER_RE.search(name) or HEADER_VALUE_RE.search(value) for name, value in headers)
    for _ in range(2):  # the second time the names are known
        if bad:
            with pytest.raises(RuntimeError, match="Invalid HTTP header"):
                encode(200, lines(headers, Framing()))
        else:
            written = b"".join(name.lower() + b": " + value + b"\r\n" for name, value in headers)
            assert encode(200, lines(headers, Framing())) == b"HTTP/1.1 200 OK\r\n" + written + b"\r\n"


def test_only_so_many_names_are_remembered_and_the_others_served() -> None:
    names = [b"x-%d" % number for number in range(2 * head.REMEMBERED)] + [b"x-" + b"y" * head.LONGEST_REMEMBERED]
    written = lines([(name, b"v") for name in names], Framing())
    assert written == [name + b": v" for name in names]
    assert len(head._remembered) == head.REMEMBERED
    assert names[-1] not in head._remembered


@pytest.mark.parametrize("name", [b"date", b"Date"])
def test_of_two_dates_the_applications_counts(name: bytes) -> None:
    defaults = [(b"date", b"now"), (b"server", b"s")]
    for _ in range(2):  # the second time the names are known
        framing = Framing()
        own = lines([(name, b"long ago"), (b"x-a", b"1")], framing)
        assert [*default_lines(defaults, framing), *own] == [b"server: s", b"date: long ago", b"x-a: 1"]
        assert default_lines(defaults, Framing()) == [b"date: now", b"server: s"]
