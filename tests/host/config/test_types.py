from __future__ import annotations

import pickle
from collections.abc import Callable
from copy import copy, deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from scalekit.config.types import BYTES, SECONDS, Duration, Rate, Size
from scalekit.config.url import Url


@pytest.mark.parametrize(
    ("text", "seconds", "shown"),
    [
        ("250ms", 0.25, "250ms"),
        ("30s", 30, "30s"),
        ("15m", 900, "15m"),
        ("1h30m", 5400, "90m"),
        ("7d", 604800, "7d"),
        ("0s", 0, "0s"),
        ("1.5s", 1.5, "1.5s"),
        ("20us", 20e-6, "20us"),
    ],
)
def test_a_duration_is_a_number_of_seconds_parsed_from_text(text: str, seconds: float, shown: str) -> None:
    assert Duration(text) == pytest.approx(seconds)
    assert str(Duration(text)) == shown


@pytest.mark.parametrize(
    ("text", "count", "shown"),
    [
        ("1MiB", 2**20, "1MiB"),
        ("64KiB", 65536, "64KiB"),
        ("10MB", 10**7, "10MB"),
        ("7B", 7, "7B"),
        (5, 5, "5B"),
        (0, 0, "0B"),
    ],
)
def test_a_size_is_a_number_of_bytes_parsed_from_text(text: str | int, count: int, shown: str) -> None:
    assert Size(text) == count
    assert str(Size(text)) == shown


@given(st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from(sorted(SECONDS))), min_size=1, max_size=4))
def test_the_text_of_a_duration_parses_to_the_same_duration(parts: list[tuple[int, str]]) -> None:
    duration = Duration("".join(f"{number}{unit}" for number, unit in parts))
    assert Duration(str(duration)) == pytest.approx(duration, rel=1e-8)


@given(st.integers(0, 2**50), st.sampled_from(sorted(BYTES)))
def test_the_text_of_a_size_parses_to_the_same_size(number: int, unit: str) -> None:
    size = Size(f"{number}{unit}")
    assert size == Size(str(size)) == number * BYTES[unit]


def test_a_rate_has_a_limit_and_a_period() -> None:
    rate = Rate("100/15m")
    assert (rate.limit, float(rate.period), str(rate)) == (100, 900.0, "100/15m")
    assert Rate("10/s") == Rate("10/1s")


@pytest.mark.parametrize("kind", [Duration, Size, Rate, Url])
@pytest.mark.parametrize(
    "text", ["", " 5s", "5", "-5s", "s", "5 MiB", "1x", "0/s", "5/", "5/0s", "10/s/s", None, 1.5, True, [], "5\u017f"]
)
def test_invalid_texts_are_rejected(kind: Callable[[Any], object], text: object) -> None:
    with pytest.raises(ValueError, match=r"expected an? "):
        kind(text)


def test_models_serialize_values_as_in_the_file() -> None:
    class Model(BaseModel):
        wait: Duration
        size: Size
        rate: Rate

    model = Model.model_validate_json('{"wait": "90s", "size": "2KiB", "rate": "5/m"}')
    assert model.model_dump() == {"wait": "90s", "size": "2KiB", "rate": "5/1m"}


@pytest.mark.parametrize(
    "value", [Duration("1h30m"), Duration("1us"), Size("1MiB"), Rate("10/250ms"), Url("redis://a:b@c/0")]
)
@pytest.mark.parametrize("duplicate", [copy, deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_values_can_be_copied_and_pickled(value: object, duplicate: Callable[[object], object]) -> None:
    made = duplicate(value)
    assert (type(made), made, str(made)) == (type(value), value, str(value))
