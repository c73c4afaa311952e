"""Keep secrets out of every text that leaves the process."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, unquote_plus

from pydantic import BaseModel

from scalekit.config.mask import MASK, mask_passwords, secret_values
from scalekit.config.types import Secret
from scalekit.config.url import Url

SHORTEST_KEY = 8
"""Signs of a user of HTTP without a password that is taken for a key: shorter ones are names, or words of any text."""


def redactor(tables: Iterable[BaseModel]) -> Callable[[str], str]:
    """Return a function that masks, in any text, the secrets in *tables* and the passwords of addresses."""
    found = {each for table in tables for each in _secrets(table) if each}
    secrets = sorted({text for secret in found for text in _spellings(secret)}, key=len, reverse=True)

    def redact(text: str) -> str:
        for secret in secrets:
            text = text.replace(secret, MASK)
        return mask_passwords(text)

    return redact


def _spellings(secret: str) -> Iterator[str]:
    """Return *secret* as errors and addresses may spell it."""
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
        if value.scheme.startswith("http") and not value.parts.password and len(value.parts.user or "") >= SHORTEST_KEY:
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
