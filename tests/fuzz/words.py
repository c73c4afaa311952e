"""Strategies for random text of the words of a grammar and of other characters."""

from __future__ import annotations

import os
from collections.abc import Sequence

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

WANTED = os.environ.get("FUZZ_EXAMPLES")
"""Examples of each property; ``make fuzz`` runs more, with other seeds."""
fuzzed = settings(
    max_examples=int(WANTED or 30),
    suppress_health_check=[HealthCheck.too_slow],
)


def texts(*words: str) -> st.SearchStrategy[str]:
    """Return text of *words*, numbers and characters of a field."""
    piece = st.one_of(
        st.sampled_from(words),
        st.integers(-1, 2**70).map(str),
        st.text(st.characters(max_codepoint=255), max_size=4),
    )
    return st.lists(piece, max_size=12).map("".join) | st.text(st.characters(max_codepoint=255), max_size=60)


def values(*words: str) -> st.SearchStrategy[bytes]:
    """Return the text as the bytes of a header field."""
    return texts(*words).map(lambda text: text.encode("latin-1"))


def mixed(shapes: Sequence[st.SearchStrategy[str]], *words: str) -> st.SearchStrategy[bytes]:
    """Return text with one of *shapes*, or with none."""
    return st.one_of(*(shape.map(lambda text: text.encode("latin-1")) for shape in shapes), values(*words))
