from __future__ import annotations

import logging
import math
from typing import Any, NamedTuple

import pytest

from scalekit import Redactor
from scalekit_logging.serialization import ValueSerializer


class Pair(NamedTuple):
    a: int
    b: int


class Broken:
    def __repr__(self) -> str:
        raise ValueError("no repr")


class Recursive:
    def __str__(self) -> str:
        return str(self)


def serialize(value: object) -> Any:
    return ValueSerializer(Redactor(), 16_384, 2_000).serialize(value)


@pytest.mark.parametrize(
    ("value", "serialized"),
    [
        (1.5, 1.5),
        (10**30, str(10**30)),
        pytest.param(10**5000, "<unprintable int object>", id="huge"),
        (Broken(), "<unprintable Broken object>"),
        (Recursive(), "<unprintable Recursive object>"),
        (b"caf\xc3\xa9 \xff", "café \\xff"),
        ("\ud800", "\\ud800"),
        ({"a": (1, {2})}, {"a": [1, [2]]}),
        (TimeoutError(), "TimeoutError: "),
        (logging.INFO, 20),
        (Pair(1, 2), "Pair(a=1, b=2)"),
    ],
)
def test_values_are_serialized(value: object, serialized: object) -> None:
    assert serialize(value) == serialized
    assert serialize([value]) == [serialized]


def test_not_a_number_stays_a_float() -> None:
    assert math.isnan(serialize(math.nan))


def test_structures_are_bounded_in_depth_and_number_of_values() -> None:
    nested: dict[str, Any] = {}
    for _ in range(10_000):
        nested = {"in": nested}
    assert "..." in str(serialize(nested))
    many = serialize(list(range(100_000)))
    assert many[:3] == [0, 1, 2]
    assert many[-1] == "..."


def test_cyclic_structures_are_bounded() -> None:
    cyclic: list[Any] = [1]
    cyclic.append({"again": cyclic})
    assert serialize(cyclic)[0] == 1


def test_a_long_text_is_cut_in_the_middle() -> None:
    text = serialize(f"begin {'-' * 200_000} end")
    assert len(text) < 20_000
    assert text.startswith("begin")
    assert text.endswith("end")


@pytest.mark.parametrize("before", range(0, 9000, 450))
def test_a_secret_at_a_cut_is_masked(before: int) -> None:
    secret = "0123456789" * 50
    redactor = Redactor((), lambda text: text.replace(secret, "***"))
    for text in ("a" * before + secret + "b" * 50_000, "b" * 50_000 + secret + "a" * before):
        assert "0123456789" not in ValueSerializer(redactor, 1000, 10).serialize_text(text)
