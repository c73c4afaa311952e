"""Encoders: every body comes back, and none takes much memory or blocks the event loop."""

from __future__ import annotations

import pytest
import zstandard

from scalekit_compression.encoders import THREAD_SIZES, ZSTD_STREAM_LEVEL, make_encoder, stream_level, thread_size


@pytest.mark.parametrize("coding", sorted(THREAD_SIZES))
def test_higher_levels_run_in_a_thread_from_smaller_bodies_on(coding: str) -> None:
    highest = {"gzip": 9, "br": 11, "zstd": 19}[coding]
    sizes = [thread_size(coding, level) for level in range(1, highest + 1)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < sizes[0]


def test_streams_have_a_low_level_of_zstandard() -> None:
    assert stream_level("zstd", 19) == ZSTD_STREAM_LEVEL
    assert (stream_level("zstd", 1), stream_level("br", 11)) == (1, 11)


def test_a_body_of_known_size_has_a_small_window() -> None:
    body = b"to be or not to be " * 100
    encoder = make_encoder("zstd", 19, len(body))
    encoded = encoder.encode(body) + encoder.finish()
    parameters = zstandard.get_frame_parameters(encoded)
    assert parameters.content_size == len(body)
    assert parameters.window_size <= 4096
