"""Accept enumerated words, such as log levels and modes, in any letter case."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any, cast

from pydantic_core import CoreSchema, core_schema


def ignore_case(schema: Any) -> Any:
    """Return the core *schema* with literals that accept their words in any letter case and return them as declared."""
    if isinstance(schema, list | tuple):
        return type(schema)(map(ignore_case, schema))
    if not isinstance(schema, dict):
        return schema
    if schema.get("type") == "literal":
        words = {word.casefold(): word for word in schema["expected"] if isinstance(word, str)}
        return core_schema.no_info_before_validator_function(partial(_canonical, words), cast(CoreSchema, schema))
    return {key: value if key in ("metadata", "cls") else ignore_case(value) for key, value in schema.items()}


def spellings(words: Iterable[str]) -> list[str]:
    """Return *words*, then each in lower case, upper case and title case, for a JSON Schema."""
    exact = list(words)
    return list(dict.fromkeys([*exact, *(form(word) for form in (str.lower, str.upper, str.title) for word in exact)]))


def _canonical(words: dict[str, str], value: object) -> object:
    return words.get(value.casefold(), value) if isinstance(value, str) else value
