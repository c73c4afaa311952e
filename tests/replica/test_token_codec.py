from __future__ import annotations

import string

from hypothesis import given
from hypothesis import strategies as st

from scalekit_replica.token_codec import TokenCodec, TokenContents

ALPHABET = string.ascii_letters + string.digits + "-_"
CODEC = TokenCodec("a" * 32)
CONTENTS = st.builds(
    TokenContents,
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**45).map(lambda milliseconds: milliseconds / 1000),
    st.integers(0, 2**32 - 1),
)


@given(CONTENTS)
def test_an_encoded_token_is_decoded(contents: TokenContents) -> None:
    token = CODEC.encode(contents)
    assert CODEC.decode(token) == contents
    assert len(token) == 50
    assert set(token) <= set(ALPHABET)


@given(CONTENTS, st.integers(0, 49), st.sampled_from(ALPHABET))
def test_a_changed_token_is_rejected(contents: TokenContents, place: int, character: str) -> None:
    token = CODEC.encode(contents)
    changed = token[:place] + character + token[place + 1 :]
    assert CODEC.decode(changed) == (contents if changed == token else None)


@given(CONTENTS, st.integers(0, 50), st.text(min_size=1, max_size=5))
def test_a_longer_token_is_rejected(contents: TokenContents, place: int, more: str) -> None:
    token = CODEC.encode(contents)
    assert CODEC.decode(token[:place] + more + token[place:]) is None


@given(CONTENTS, st.integers(0, 49))
def test_a_shorter_token_is_rejected(contents: TokenContents, length: int) -> None:
    assert CODEC.decode(CODEC.encode(contents)[:length]) is None


@given(st.text() | st.text(ALPHABET, min_size=50, max_size=50))
def test_an_unsigned_text_is_rejected(text: str) -> None:
    assert CODEC.decode(text) is None


@given(CONTENTS)
def test_a_token_of_another_secret_is_rejected(contents: TokenContents) -> None:
    assert TokenCodec("b" * 32).decode(CODEC.encode(contents)) is None
    assert TokenCodec("a" * 32).decode(CODEC.encode(contents)) == contents
