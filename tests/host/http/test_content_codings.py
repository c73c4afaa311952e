from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalekit import choose_coding

CODINGS = ("br", "zstd", "gzip")


@pytest.mark.parametrize(
    ("accept_encoding", "coding"),
    [
        ("gzip, deflate, br, zstd", "br"),
        ("gzip, deflate, br;q=0.9", "gzip"),
        ("GZIP", "gzip"),
        ("x-gzip", "gzip"),
        ("*", "br"),
        ("*;q=0.5, br;q=0", "zstd"),
        ("br;q=0, zstd;q=0, gzip;q=0", ""),
        ("identity", ""),
        ("identity, gzip", "gzip"),
        ("identity;q=1, gzip;q=0.5", ""),
        ("identity;q=0.5, gzip;q=0.5", "gzip"),
        ("deflate", ""),
        ("", ""),
        ("gzip;q=1.5", ""),
        ("gzip;q=x, br;q=0.001", "br"),
        ("gzip ; q = 0.3 , zstd;Q=0.2", "gzip"),
        (",,gzip,", "gzip"),
    ],
)
def test_the_highest_weight_wins(accept_encoding: str, coding: str) -> None:
    assert choose_coding(accept_encoding, CODINGS) == coding


@given(st.text(alphabet="gzipbrstd*;q=01., \t\x00", max_size=60))
def test_what_is_chosen_was_named(accept_encoding: str) -> None:
    chosen = choose_coding(accept_encoding, CODINGS)
    assert not chosen or chosen in accept_encoding.lower() or "*" in accept_encoding
