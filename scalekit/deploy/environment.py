"""The environment variables that a file references, and the secrets that it contains itself."""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel

from scalekit.config.document import Document, dotted
from scalekit.config.environment import references, with_defaults, without_references
from scalekit.config.password_mask import is_secret_name, mask_passwords, secret_values
from scalekit.config.positions import Path
from scalekit.config.types import Secret
from scalekit.config.url import HttpUrl, Url
from scalekit.config.url_syntax import split_url
from scalekit.settings import Settings

SHAPE = "x"
"""Text in place of a reference, so that the rest of a URL can be parsed."""


@dataclass(frozen=True, slots=True)
class EnvironmentVariable:
    """A variable that the values of *keys* reference; *default* is None when the service cannot start without it.

    The value of a secret one belongs into a secret store. A default in the file that is a secret itself counts as none.
    """

    name: str
    default: str | None
    is_secret: bool
    keys: tuple[str, ...]

    @property
    def is_required(self) -> bool:
        """Whether the service cannot start without the variable."""
        return self.default is None


def environment_variables(settings: Settings) -> tuple[EnvironmentVariable, ...]:
    """Return the variables that the file of *settings* references, by name."""
    found: dict[str, EnvironmentVariable] = {}
    for path, template in settings.document.templates.items():
        for name, default in references(template):
            before = found.get(name, EnvironmentVariable(name, default, is_secret_name(name), ()))
            keys = tuple(dict.fromkeys((*before.keys, dotted(path))))
            is_secret = before.is_secret or _may_be_secret(path, value_of(settings, path))
            required = before.default is None or default is None
            found[name] = EnvironmentVariable(name, None if required else before.default, is_secret, keys)
    secrets = {dotted(path) for path in literal_secrets(settings)}
    return tuple(_without_secret_default(each, secrets) for _, each in sorted(found.items()))


def literal_secrets(settings: Settings) -> list[Path]:
    """Return the paths whose secrets are written in the file or after ``--set``, and not taken from the environment."""
    return [path for path, text in _texts(settings.document) if _is_literal_secret(settings, path, text)]


def sole_variable(settings: Settings, path: Path) -> str:
    """Return the variable that has the whole value at *path*; empty when the file defines a part of the value."""
    template = settings.document.templates.get(path, "")
    found = references(template)
    return found[0][0] if len(found) == 1 and not without_references(template) else ""


def value_of(settings: Settings, path: Path) -> Any:
    """Return the parsed value at *path* of the file, or None when there is none of that path."""
    tables: dict[Path, Any] = {("app",): settings.app, ("server",): settings.server, ("health",): settings.health}
    tables |= {("plugins", name): table for name, table in settings.tables.items()}
    size = 2 if path[:1] == ("plugins",) else 1
    value = tables.get(path[:size])
    for part in path[size:]:
        value = _member(value, part)
    return value


def _member(value: Any, part: str | int) -> Any:
    if isinstance(value, BaseModel):
        return getattr(value, str(part), None)
    try:
        return value[part]
    except (KeyError, IndexError, TypeError):
        return None


def _without_secret_default(variable: EnvironmentVariable, secrets: Set[str]) -> EnvironmentVariable:
    if variable.default is None or secrets.isdisjoint(variable.keys):
        return variable
    return replace(variable, default=None, is_secret=True)


def _may_be_secret(path: Path, value: Any) -> bool:
    """Return whether a text at *path* is, or may contain, a secret: the URL of a server with a password is one."""
    if isinstance(value, HttpUrl):
        return bool(value.parts.user or value.parts.password)
    return is_secret_name(path[-1]) or isinstance(value, Secret | Url)


def _texts(document: Document) -> Iterator[tuple[Path, str]]:
    """Yield every text of the file by path, with its references."""

    def texts(value: Any, path: Path) -> Iterator[tuple[Path, str]]:
        if isinstance(value, dict):
            for key, each in value.items():
                yield from texts(each, (*path, key))
        elif isinstance(value, list):
            for index, each in enumerate(value):
                yield from texts(each, (*path, index))
        elif isinstance(value, str):
            yield path, document.templates.get(path, value)

    yield from texts(document.data, ())


def _is_literal_secret(settings: Settings, path: Path, text: str) -> bool:
    own = without_references(text)
    defaults = [default for _, default in references(text) if default]
    if isinstance(value_of(settings, path), Secret):
        return bool(own) or bool(defaults)
    return any(map(_has_secret, (own, with_defaults(text), *defaults)))


def _has_secret(text: str) -> bool:
    """Return whether *text* is a URL with a password or a secret parameter."""
    try:
        parts = split_url(text)
    except ValueError:
        return mask_passwords(text) != text
    return bool(parts.password) or any(secret_values(parts.query))
