"""Words that a table enumerates, such as levels and modes, are taken in upper and lower case."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any, cast

from pydantic_core import CoreSchema, core_schema


def in_either_case(schema: Any) -> Any:
    """Return the core *schema* such that each literal in it takes its words in any case, and gives its own spelling."""
    if isinstance(schema, list | tuple):
        return type(schema)(map(in_either_case, schema))
    if not isinstance(schema, dict):
        return schema
    if schema.get("type") == "literal":
        words = {word.casefold(): word for word in schema["expected"] if isinstance(word, str)}
        return core_schema.no_info_before_validator_function(partial(_spelled, words), cast(CoreSchema, schema))
    return {key: value if key in ("metadata", "cls") else in_either_case(value) for key, value in schema.items()}


def spellings(words: Iterable[str]) -> list[str]:
    """Return *words*, then each in lower case, in upper case and with a capital, for a JSON Schema."""
    known = list(words)
    return list(dict.fromkeys([*known, *(form(word) for form in (str.lower, str.upper, str.title) for word in known)]))


def _spelled(words: dict[str, str], value: object) -> object:
    return words.get(value.casefold(), value) if isinstance(value, str) else value
