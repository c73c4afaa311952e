"""Encode values as JSON without losing any of them in silence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from math import isfinite
from typing import Any

import orjson
from pydantic import BaseModel


def encode_json(value: Any) -> bytes:
    """Return *value*, a pydantic model or what JSON can represent, as JSON (RFC 8259).

    Raises ValueError for NaN and Infinity, which JSON cannot represent and encoders write as null, and for other types.
    """
    if isinstance(value, BaseModel):
        encoded = value.model_dump_json().encode()
        if b"NaN" in encoded or b"Infinity" in encoded:  # as a text, or, with ser_json_inf_nan="constants", as no JSON
            _refuse_invalid(value, encoded)
    else:
        try:
            encoded = orjson.dumps(value)
        except TypeError as error:
            raise ValueError(f"JSON cannot represent the value: {error}") from None
    if b"null" in encoded:  # the only sign of a number that was lost; most values never pay for the walk
        _refuse_non_finite(value)
    return encoded


def _refuse_invalid(value: BaseModel, encoded: bytes) -> None:
    try:
        orjson.loads(encoded)
    except ValueError:
        _refuse_non_finite(value)
        raise


def _refuse_non_finite(value: Any) -> None:
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, float) and not isfinite(each):
            raise ValueError(f"JSON cannot represent {each!r}; send None, a finite number or a string instead")
        waiting += _members(each)


def _members(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        yield from value.values()
    elif isinstance(value, list | tuple | set | frozenset):
        yield from value
    elif isinstance(value, BaseModel):
        yield value.model_dump()
    elif isinstance(value, Enum):
        yield value.value
    elif is_dataclass(value):
        yield from (getattr(value, field.name) for field in fields(value))
