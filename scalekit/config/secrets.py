"""Keep secrets out of every text that leaves the process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from pydantic import BaseModel

from scalekit.config.types import MASK, Secret, mask_passwords
from scalekit.config.url import Url


def redactor(tables: Iterable[BaseModel]) -> Callable[[str], str]:
    """Return a function that masks, in any text, the secrets in *tables* and the passwords of addresses."""
    secrets = sorted({each for table in tables for each in _secrets(table) if each}, key=len, reverse=True)

    def redact(text: str) -> str:
        for secret in secrets:
            text = text.replace(secret, MASK)
        return mask_passwords(text)

    return redact


def _secrets(value: Any) -> Iterator[str]:
    if isinstance(value, Secret):
        yield value.get_secret_value()
    elif isinstance(value, Url):
        yield value.password
        yield unquote(value.password)
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _secrets(getattr(value, name))
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _secrets(each)
    elif isinstance(value, list | tuple | set | frozenset):
        for each in value:
            yield from _secrets(each)
