from __future__ import annotations

import string

from hypothesis import given
from hypothesis import strategies as st

from scalekit_replica.token_codec import Contents, Signer

ALPHABET = string.ascii_letters + string.digits + "-_"
SIGNER = Signer("a" * 32)
CONTENTS = st.builds(
    Contents,
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**45).map(lambda milliseconds: milliseconds / 1000),
    st.integers(0, 2**32 - 1),
)


@given(CONTENTS)
def test_what_is_signed_is_read_back(contents: Contents) -> None:
    token = SIGNER.sign(contents)
    assert SIGNER.read(token) == contents
    assert len(token) == 50
    assert set(token) <= set(ALPHABET)


@given(CONTENTS, st.integers(0, 49), st.sampled_from(ALPHABET))
def test_a_token_with_another_character_is_refused(contents: Contents, place: int, character: str) -> None:
    token = SIGNER.sign(contents)
    changed = token[:place] + character + token[place + 1 :]
    assert SIGNER.read(changed) == (contents if changed == token else None)


@given(CONTENTS, st.integers(0, 50), st.text(min_size=1, max_size=5))
def test_a_token_with_more_in_it_is_refused(contents: Contents, place: int, more: str) -> None:
    token = SIGNER.sign(contents)
    assert SIGNER.read(token[:place] + more + token[place:]) is None


@given(CONTENTS, st.integers(0, 49))
def test_a_token_with_less_in_it_is_refused(contents: Contents, length: int) -> None:
    assert SIGNER.read(SIGNER.sign(contents)[:length]) is None


@given(st.text() | st.text(ALPHABET, min_size=50, max_size=50))
def test_what_nobody_signed_is_refused(text: str) -> None:
    assert SIGNER.read(text) is None


@given(CONTENTS)
def test_a_token_of_another_secret_is_refused(contents: Contents) -> None:
    assert Signer("b" * 32).read(SIGNER.sign(contents)) is None
    assert Signer("a" * 32).read(SIGNER.sign(contents)) == contents
