"""Redact secrets in all texts that leave the process: logs, errors, health pages."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, unquote_plus

from pydantic import BaseModel

from scalekit.config.database_values import mask_database_values
from scalekit.config.password_mask import mask_passwords, secret_values
from scalekit.config.secret_matcher import SecretMatcher
from scalekit.config.types import Secret
from scalekit.config.url import Url

MIN_KEY_LENGTH = 8
"""Characters of an HTTP user without a password from which it counts as a key; shorter ones are names."""


def redactor(tables: Iterable[BaseModel]) -> Callable[[str], str]:
    """Return a function that masks the secrets in *tables*, passwords of URLs, and values in errors of databases."""
    found = {each for table in tables for each in _secrets(table) if each}
    matcher = SecretMatcher(text for secret in found for text in _spellings(secret))

    def redact(text: str) -> str:
        return mask_database_values(mask_passwords(matcher.mask(text)))

    return redact


def _spellings(secret: str) -> Iterator[str]:
    """Yield the spellings of *secret* in errors and URLs: as is, escaped and percent-encoded."""
    yield secret
    yield repr(secret)[1:-1]
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    for safe in ("", "/", "!$&'()*+,;=:"):
        yield quote(secret, safe=safe)


def _secrets(value: Any) -> Iterator[str]:
    if isinstance(value, Secret):
        yield value.get_secret_value()
    elif isinstance(value, Url):
        yield from (value.parts.password_text, value.parts.password or "")
        if (
            value.scheme.startswith("http")
            and not value.parts.password
            and len(value.parts.user or "") >= MIN_KEY_LENGTH
        ):
            yield value.parts.user or ""
        for secret in secret_values(value.parts.query):
            yield from (secret, unquote_plus(secret))
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _secrets(getattr(value, name))
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _secrets(each)
    elif isinstance(value, list | tuple | set | frozenset):
        for each in value:
            yield from _secrets(each)
