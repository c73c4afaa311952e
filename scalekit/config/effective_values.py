"""All values in effect with their origins, as text with secrets masked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
from pydantic import BaseModel

from scalekit.config.document import Document, dotted
from scalekit.config.enabled_key import ENABLED
from scalekit.config.password_mask import MASK, is_secret_name, mask_passwords, mask_url
from scalekit.config.positions import Path
from scalekit.config.types import Secret
from scalekit.config.validation import value_at

if TYPE_CHECKING:
    from scalekit.settings import Settings

DEFAULT = "default"
"""The origin of a value that is not set."""


@dataclass(frozen=True, slots=True)
class EffectiveValue:
    """A value of the *table* as text that may be shown, and its origin."""

    table: str
    key: str
    value: str
    origin: str

    @property
    def is_default(self) -> bool:
        """Whether the value is not set."""
        return self.origin == DEFAULT


def effective_values(settings: Settings) -> Iterator[EffectiveValue]:
    """Yield every value of *settings*, those of plugins that are switched off first; secrets are masked."""
    for name in settings.disabled:
        key: Path = ("plugins", name, ENABLED)
        yield EffectiveValue(dotted(key[:-1]), _key(key), "false", _origin(settings.document, key))
    tables: dict[Path, BaseModel] = {
        ("app",): settings.app,
        ("server",): settings.server,
        ("health",): settings.health,
    }
    tables |= {("plugins", name): table for name, table in settings.tables.items()}
    for path, model in tables.items():
        for key, value in _leaves(model, path):
            yield EffectiveValue(dotted(path), _key(key), _format(key, value), _origin(settings.document, key))


def _key(path: Path) -> str:
    """Return *path* as text; a key that the user has chosen may have the password of a URL."""
    return mask_passwords(dotted(path))


def _leaves(value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _leaves(getattr(value, name), (*path, name))
    elif isinstance(value, dict) and value:
        for name, each in value.items():
            yield from _leaves(each, (*path, name))
    elif isinstance(value, list | tuple) and any(isinstance(each, BaseModel) for each in value):
        for index, each in enumerate(value):
            yield from _leaves(each, (*path, index))
    else:
        yield path, value


def _format(path: Path, value: Any) -> str:
    if value is None:
        return "(unset)"
    if isinstance(value, Secret) or (isinstance(value, str) and value and is_secret_name(path[-1])):
        return f'"{MASK}"'
    if type(value) is str:
        value = mask_url(value)
    as_json = type(value) in (int, bool, str, tuple, list, dict)
    return mask_passwords(orjson.dumps(value, default=_mask_secret).decode() if as_json else f'"{value}"')


def _mask_secret(value: object) -> str:
    return MASK if isinstance(value, Secret) else str(value)


def _origin(document: Document, path: Path) -> str:
    """Return the origin of *path*.

    If its table was written in short form (a string in place of a table), return the origin of that.
    """
    if path in document.origins:
        return str(document.origins[path])
    outer = value_at(document.data, path[:-1])
    return DEFAULT if outer is None or isinstance(outer, dict) else str(document.origin(path[:-1]))
