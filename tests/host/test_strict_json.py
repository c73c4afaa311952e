from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from scalekit.strict_json import encode_json

FINITE = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
LEAVES = FINITE | st.text()
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))


@dataclass
class Point:
    x: float
    name: str | None = None


class Level(Enum):
    UNKNOWN = math.nan


class Reading(BaseModel):
    values: dict[str, list[float]]


class Constants(Reading):
    model_config = ConfigDict(ser_json_inf_nan="constants")


class Words(Reading):
    model_config = ConfigDict(ser_json_inf_nan="strings")


@given(VALUES)
def test_values_that_json_can_represent_survive_a_round_trip(value: Any) -> None:
    assert orjson.loads(encode_json(value)) == value


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda number: number,
        lambda number: {"a": [None, {"b": (number,)}]},
        lambda number: Point(number),
        lambda number: Reading(values={"a": [1.0, number]}),
        lambda number: Constants(values={"a": [1.0, number]}),
    ],
)
def test_nan_and_infinity_are_refused_at_any_depth(number: float, wrap: Any) -> None:
    with pytest.raises(ValueError, match=r"JSON cannot represent -?(nan|inf); send None, a finite number or a string"):
        encode_json(wrap(number))


def test_the_value_of_an_enum_is_checked() -> None:
    with pytest.raises(ValueError, match="JSON cannot represent nan"):
        encode_json({"level": Level.UNKNOWN})


def test_a_model_may_configure_their_serialization() -> None:
    assert encode_json(Words(values={"a": [math.inf]})) == b'{"values":{"a":["Infinity"]}}'
    assert encode_json(Constants(values={"NaN": [1.0]})) == b'{"values":{"NaN":[1.0]}}'


def test_none_and_the_text_null_are_accepted() -> None:
    assert encode_json(Point(1.5)) == b'{"x":1.5,"name":null}'
    assert encode_json("null") == b'"null"'


def test_a_type_that_json_cannot_represent_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON cannot represent the value: Type is not JSON serializable"):
        encode_json(object())
