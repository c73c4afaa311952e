from __future__ import annotations

import sys
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalekit import MASK
from scalekit.config.secret_matcher import FEW, SecretMatcher

MANY = [f"tenant-secret-{number}" for number in range(10_000)]
TEXTS = st.text("ab-", max_size=60)
SECRETS = st.lists(st.text("ab-", min_size=1, max_size=12), max_size=10)
OTHERS = [f"{number:020x}" for number in range(FEW + 1)]
"""Secrets of no text, with which the others are many."""


@pytest.mark.parametrize("others", [[], OTHERS])
@pytest.mark.parametrize(
    ("secrets", "text", "expected"),
    [
        (["tok-1", "tok-1-longer"], "tok-1-longer, tok-1.", "***, ***."),
        (["hunter2", "tok-1"], "hunter2tok-1", "******"),
        (["abcd", "cdefgh"], "abcdefgh!", "***!"),
        (["aa"], "baaab", "b***b"),
        (["x"], "axb", "a***b"),
        (["long-secret-of-the-file", "long-secret"], "a long-secret-of-the-fil", "a ***-of-the-fil"),
        (["secret"], "secre", "secre"),
        (["secret"], "", ""),
        (["*"], "a*", "a***"),
    ],
)
def test_secrets_are_masked(secrets: list[str], others: list[str], text: str, expected: str) -> None:
    assert SecretMatcher([*secrets, *others]).mask(text) == expected


@given(SECRETS, TEXTS)
def test_few_and_many_secrets_are_masked_alike(secrets: list[str], text: str) -> None:
    few, many = SecretMatcher(secrets).mask(text), SecretMatcher([*secrets, *OTHERS]).mask(text)
    assert few == many
    hidden = {place for secret in secrets for place in range(len(text)) if text.startswith(secret, place)}
    assert (MASK in few) == bool(hidden)
    rest = "".join(char for place, char in enumerate(text) if not _is_hidden(text, secrets, place))
    assert few.replace(MASK, "") == rest


def _is_hidden(text: str, secrets: list[str], place: int) -> bool:
    starts = ((secret, begin) for secret in secrets for begin in range(place - len(secret) + 1, place + 1))
    return any(begin >= 0 and text.startswith(secret, begin) for secret, begin in starts)


def test_each_of_many_secrets_is_masked() -> None:
    matcher = SecretMatcher(MANY)
    assert matcher.mask(" ".join(MANY)) == " ".join([MASK] * len(MANY))


def bytecodes(matcher: SecretMatcher, text: str) -> int:
    """Return how many bytecodes the interpreter executes to mask *text*."""
    count = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal count
        frame.f_trace_opcodes = True
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        matcher.mask(text)
    finally:
        sys.settrace(before)
    return count


def test_the_work_does_not_grow_with_the_number_of_secrets() -> None:
    text = "tenant-secret without a number, " * 10
    assert bytecodes(SecretMatcher(MANY), text) <= 1.1 * bytecodes(SecretMatcher(MANY[: 2 * FEW]), text)


@pytest.mark.parametrize("secrets", [MANY, MANY[:FEW]])
def test_the_work_is_linear_in_the_length_of_the_text(secrets: list[str]) -> None:
    text = "tenant-secret-1 and tenant-secret, " * 20
    matcher = SecretMatcher(secrets)
    assert bytecodes(matcher, 8 * text) <= 8.5 * bytecodes(matcher, text)
