"""Values of response headers: what is read and what is remembered."""

from __future__ import annotations

import pytest

from scalekit_compression.config import CompressionConfig
from scalekit_compression.eligibility import MAX_TYPES, Eligibility, directive_names, fold_headers, parse_length


def test_only_short_types_are_remembered_and_not_too_many() -> None:
    rules = Eligibility(CompressionConfig())
    for number in range(2 * MAX_TYPES):
        assert rules.allows(200, {b"content-type": b"text/plain; a=%d" % number}, ())
    assert len(rules._known) <= MAX_TYPES
    long = b"text/plain; boundary=" + 8000 * b"x"
    assert rules.allows(200, {b"content-type": long}, ())
    assert long not in rules._known


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (b"", set()),
        (b"Public, max-age=60", {b"public", b"max-age"}),
        (b'no-cache="a, public", private', {b"no-cache", b"private"}),
        (b'x="a\\", public", no-transform', {b"x", b"no-transform"}),
        (b'x="public, no-transform', {b"x"}),
    ],
)
def test_names_of_directives(value: bytes, names: set[bytes]) -> None:
    assert directive_names(value) == names


def test_repeated_headers_are_joined() -> None:
    headers = [(b"Vary", b"1"), (b"x-other", b"3"), (b"vary", b"2"), (b"ETag", b"4")]
    assert fold_headers(headers) == {b"vary": b"1, 2", b"etag": b"4"}


@pytest.mark.parametrize(
    ("value", "length"), [(b"0", 0), (b"12", 12), (b"1_0", None), (b"+1", None), (b"1" * 19, None)]
)
def test_lengths(value: bytes, length: int | None) -> None:
    assert parse_length(value) == length
