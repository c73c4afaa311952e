"""Tracebacks of any chain and group, in bounded time."""

from __future__ import annotations

import pytest

from scalekit import format_traceback
from scalekit.traceback_text import MAX_EXCEPTIONS


def raised(error: Exception) -> Exception:
    try:
        raise error
    except type(error) as caught:
        return caught


def chained(depth: int) -> Exception:
    found = raised(ValueError("0"))
    for number in range(1, depth):
        try:
            raise ValueError(str(number)) from found
        except ValueError as error:
            found = error
    return found


def nested_groups(depth: int, width: int) -> Exception:
    member = nested_groups(depth - 1, width) if depth else raised(ValueError("member"))
    return raised(ExceptionGroup("group", [member] * width))


def looped() -> Exception:
    error = raised(ValueError("looped"))
    error.__cause__ = error
    return error


def test_a_short_chain_is_formatted_like_a_traceback() -> None:
    stack = format_traceback(chained(3))
    assert stack.count("The above exception was the direct cause") == 2
    assert stack.endswith("ValueError: 2\n")


@pytest.mark.parametrize("error", [chained(5000), nested_groups(7, 15), looped()], ids=["chain", "groups", "loop"])
def test_only_a_part_of_many_exceptions_is_formatted(error: Exception) -> None:
    stack = format_traceback(error)
    assert stack.count("in raised") + stack.count("in chained") <= MAX_EXCEPTIONS
    assert stack.rstrip().endswith(f"{type(error).__name__}: {error}")
    assert stack.count("looped") <= 1
