"""Encode values as JSON, and refuse those that JSON cannot represent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from math import isfinite

import orjson
from pydantic import BaseModel


def encode_json(value: object) -> bytes:
    """Return *value*, a pydantic model or a JSON-compatible value, as JSON (RFC 8259).

    Raises ValueError for NaN and Infinity, which encoders write as null, and for types that JSON cannot represent.
    """
    if isinstance(value, BaseModel):
        encoded = value.model_dump_json().encode()
        if b"NaN" in encoded or b"Infinity" in encoded:  # in a string, or invalid JSON of ser_json_inf_nan="constants"
            _refuse_invalid(value, encoded)
    else:
        try:
            encoded = orjson.dumps(value)
        except TypeError as error:
            raise ValueError(f"JSON cannot represent the value: {error}") from None
    if b"null" in encoded:  # NaN and Infinity are encoded as null; without one the walk is skipped
        _refuse_non_finite(value)
    return encoded


def _refuse_invalid(value: BaseModel, encoded: bytes) -> None:
    try:
        orjson.loads(encoded)
    except ValueError:
        _refuse_non_finite(value)
        raise


def _refuse_non_finite(value: object) -> None:
    waiting: list[object] = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, float) and not isfinite(each):
            raise ValueError(f"JSON cannot represent {each!r}; send None, a finite number or a string instead")
        waiting += _members(each)


def _members(value: object) -> Iterator[object]:
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
