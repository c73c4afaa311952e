"""Response heads: valid exactly when uvicorn accepts them."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from uvicorn.protocols.http.httptools_impl import HEADER_RE, HEADER_VALUE_RE

from scalekit.http.response import LocalResponse
from scalekit.runner.server import response_head
from scalekit.runner.server.response_head import (
    Framing,
    Header,
    default_header_lines,
    encode,
    encode_local,
    header_lines,
)

NAMES = st.binary(min_size=1, max_size=6) | st.from_regex(rb"\A[A-Za-z0-9!#$%&'*+.^_`|~-]{1,12}\Z")
VALUES = st.binary(max_size=12) | st.sampled_from([b"", b"\r\n", b"a\r\nb", b"a\r\n", b"\r", b"\n", b"\t", b"\xff"])
HEADERS = st.lists(st.tuples(NAMES, VALUES), max_size=5)


@given(HEADERS)
@example([(b"x-a", b"\r\n"), (b"x-b", b"")])
@example([])
def test_a_head_is_encoded_or_rejected_as_by_uvicorn(headers: list[tuple[bytes, bytes]]) -> None:
    bad = any(HEADER_RE.search(name) or HEADER_VALUE_RE.search(value) for name, value in headers)
    for _ in range(2):  # the second time the names are known
        if bad:
            with pytest.raises(RuntimeError, match="Invalid HTTP header"):
                encode(200, header_lines(headers, Framing()))
        else:
            written = b"".join(name.lower() + b": " + value + b"\r\n" for name, value in headers)
            assert encode(200, header_lines(headers, Framing())) == b"HTTP/1.1 200 OK\r\n" + written + b"\r\n"


def test_the_cache_of_field_names_is_bounded() -> None:
    names = [b"x-%d" % number for number in range(2 * response_head.MAX_CACHED_NAMES)] + [
        b"x-" + b"y" * response_head.MAX_CACHED_NAME_LENGTH
    ]
    written = header_lines([(name, b"v") for name in names], Framing())
    assert written == [name + b": v" for name in names]
    assert len(response_head._prefixes) == response_head.MAX_CACHED_NAMES
    assert names[-1] not in response_head._prefixes


@pytest.mark.parametrize("name", [b"date", b"Date"])
def test_the_date_of_the_application_replaces_the_servers(name: bytes) -> None:
    defaults = [(b"date", b"now"), (b"server", b"s")]
    for _ in range(2):  # the second time the names are known
        framing = Framing()
        own = header_lines([(name, b"long ago"), (b"x-a", b"1")], framing)
        assert [*default_header_lines(defaults, framing), *own] == [b"server: s", b"date: long ago", b"x-a: 1"]
        assert default_header_lines(defaults, Framing()) == [b"date: now", b"server: s"]


DEFAULTS = [[(b"date", b"now")], [(b"date", b"later"), (b"server", b"s")]]
OWN = st.sampled_from(
    [
        (b"content-length", b"5"),
        (b"content-length", b"6"),
        (b"transfer-encoding", b"chunked"),
        (b"connection", b"close"),
        (b"Date", b"then"),
        (b"Content-Type", b"text/plain"),
        (b"x-a", b"\r\n"),
    ]
)


def encoded_each_time(
    response: LocalResponse, headers: list[Header], defaults: list[Header]
) -> tuple[set[bytes], Framing]:
    framing = Framing()
    own = header_lines(headers, framing)
    whole = encode(response.status, [*default_header_lines(defaults, framing), *own])
    return set(whole.split(b"\r\n")), framing


@given(
    st.lists(OWN, max_size=4),
    st.lists(st.tuples(st.lists(OWN | st.tuples(NAMES, VALUES), max_size=3), st.sampled_from(DEFAULTS)), max_size=3),
    st.booleans(),
)
@example([(b"content-length", b"5")], [([(b"Content-Type", b"a")], DEFAULTS[0]), ([], DEFAULTS[1])], False)
@example([(b"content-length", b"5"), (b"date", b"then")], [([(b"Content-Type", b"\r\n")], DEFAULTS[1])], False)
def test_a_cached_head_equals_one_that_is_encoded_each_time(
    own: list[Header], sent: list[tuple[list[Header], list[Header]]], changes: bool
) -> None:
    response = LocalResponse(200, own, b"12345")
    for added, defaults in sent:
        headers = [*own[changes:], *added] if changes or added else own
        try:
            expected, framing = encoded_each_time(response, headers, defaults)
            encoded_each_time(response, own, defaults)
        except RuntimeError:
            with pytest.raises(RuntimeError):
                _ = encode_local(response, headers, defaults) or encoded_each_time(response, headers, defaults)
            continue
        found = encode_local(response, headers, defaults)
        if found is not None:
            assert found.endswith(b"\r\n\r\n")
            assert set(found.split(b"\r\n")) == expected
            assert (framing.chunked, framing.length, framing.closes) == (False, 5, False)


def test_the_head_of_a_stored_response_is_encoded_once_and_added_fields_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(response_head, "_prefixes", {})
    response = LocalResponse(200, [(b"content-length", b"1"), (b"date", b"then")], b"1")
    header_lines([(b"x-added", b"")], Framing())  # a name that was seen before
    for number in range(3):
        head_sent = encode_local(response, [*response.headers, (b"x-added", b"%d" % number)], DEFAULTS[number % 2])
        server = b"server: s\r\n" * (number % 2)
        expected = b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ndate: then\r\nx-added: %d\r\n%b\r\n" % (number, server)
        assert head_sent == expected
        assert response.encoded.lines in expected
