"""Normalization of the URL in ``htu``."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalekit_jwt.dpop import normalize_htu


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("http://a/b/c/%7Bfoo%7D", "HTTP://A:80/./b/../b/%63/%7bfoo%7d"),  # section 6.2.2 of RFC 3986
        ("https://example.com", "https://example.com:443/"),
        ("https://example.com/", "https://example.com:/?query#fragment"),
        ("http://[::1]:8000/a", "http://[::1]:8000/x/../a"),
        ("http://a/b/", "http://a/b/c/.."),
        ("http://a/b/", "http://a/b/."),
        ("http://a/%C3%A9 ", "http://a/é%20"),
        ("ws://a/b", "http://a/b"),
        ("wss://a/b", "https://a/b"),
    ],
)
def test_equivalent_urls_normalize_equally(one: str, other: str) -> None:
    assert normalize_htu(one) == normalize_htu(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("http://a/b", "https://a/b"),
        ("http://a/b", "http://a/B"),
        ("http://a/b", "http://a/b/"),
        ("http://a/b/c", "http://a/b%2Fc"),
        ("http://a//b", "http://a/b"),
        ("http://a:80/b", "http://a:8080/b"),
        ("http://a:80/b", "http://a:0/b"),
        ("http://a.example/", "http://a.example./"),
    ],
)
def test_different_urls_normalize_differently(one: str, other: str) -> None:
    assert normalize_htu(one) != normalize_htu(other)


@pytest.mark.parametrize(
    "address",
    ["", "/b", "a/b", "//a/b", "ftp://a/", "http:///b", "http://ada@a/", "http://a:x/", "http://a/\nb", "http://[a/"],
)
def test_other_urls_are_refused(address: str) -> None:
    with pytest.raises(ValueError, match=r"URL|[Pp]ort|IPv6"):
        normalize_htu(address)


@given(st.text(max_size=30).map("http://a/{}".format) | st.text(max_size=30))
def test_normalization_is_idempotent(address: str) -> None:
    try:
        once = normalize_htu(address)
    except ValueError:
        return
    assert normalize_htu(once) == once
